//! Tensors' names in `transformers`, to those that llama.cpp's converter writes.
//!
//! A name that is not known stays as it is, so that the architecture's reader refuses it by name.

use std::borrow::Cow;

use super::Class;

const DECODER: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("post_attention_layernorm", "ffn_norm"),
];

const HEAD_NORMS: [(&str, &str); 2] = [("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm")];

/// Gemma 3 has a norm after attention as well, under the name that others have before the feed-forward network.
const GEMMA3: [(&str, &str); 3] = [
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

const BERT: [(&str, &str); 8] = [
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
];

/// The name of a tensor of `class`; `None` for one that no computation uses.
pub(super) fn translated(class: Class, name: &str, head_is_tied: bool) -> Option<Cow<'_, str>> {
    match class {
        Class::Bert | Class::BertForSequenceClassification => encoder(class, name),
        _ if name == "lm_head.weight" && head_is_tied => None,
        // A table of frequencies that old versions stored.
        _ if name.ends_with(".rotary_emb.inv_freq") => None,
        _ => Some(decoder(class, name).map_or(Cow::Borrowed(name), Cow::Owned)),
    }
}

fn decoder(class: Class, name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let own: &[(&str, &str)] = if class == Class::Gemma3 { &GEMMA3 } else { &[] };
    of_layer(name.strip_prefix("model.layers.")?, &[own, &DECODER, &HEAD_NORMS])
}

fn encoder(class: Class, name: &str) -> Option<Cow<'_, str>> {
    let own = name.strip_prefix("bert.").unwrap_or(name);
    let ranks = class == Class::BertForSequenceClassification;
    let translated = match own {
        "embeddings.position_ids" => return None,
        // An encoder's vectors of sentences come from its last layer.
        "pooler.dense.weight" | "pooler.dense.bias" if !ranks => return None,
        "pooler.dense.weight" => "cls.weight",
        "pooler.dense.bias" => "cls.bias",
        "classifier.weight" if ranks => "cls.output.weight",
        "classifier.bias" if ranks => "cls.output.bias",
        "embeddings.word_embeddings.weight" => "token_embd.weight",
        "embeddings.position_embeddings.weight" => "position_embd.weight",
        "embeddings.token_type_embeddings.weight" => "token_types.weight",
        "embeddings.LayerNorm.weight" => "token_embd_norm.weight",
        "embeddings.LayerNorm.bias" => "token_embd_norm.bias",
        _ => {
            let layer = own.strip_prefix("encoder.layer.").and_then(|rest| of_layer(rest, &[&BERT]));
            return Some(layer.map_or(Cow::Borrowed(name), Cow::Owned));
        }
    };
    Some(Cow::Borrowed(translated))
}

/// `INDEX.PART.weight` by the first table that has the part.
fn of_layer(rest: &str, tables: &[&[(&str, &str)]]) -> Option<String> {
    let (index, rest) = rest.split_once('.')?;
    // As a number, and as numbers are written: nothing else becomes a layer.
    let number: u32 = index.parse().ok().filter(|number: &u32| number.to_string() == index)?;
    let (part, kind) = rest.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let (_, translated) = tables.iter().copied().flatten().find(|(theirs, _)| *theirs == part)?;
    Some(format!("blk.{number}.{translated}.{kind}"))
}
