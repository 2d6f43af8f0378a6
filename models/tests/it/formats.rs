//! One model in several formats: the same weights give the same numbers however they lie on the disk.

use loader::fixture::{Architecture, FolderTensor, FolderWriter, TinyModel, tiny_model, write_shards};
use loader::gguf::TensorType;
use loader::{Artifact, BringIn};
use models::template::Message;
use models::tokenizer::{Special, Start, Tokenizer};
use models::{Descriptor, Model};
use serde_json::json;

use crate::peer_models::{PeerModel, peer_models, prompt};
use crate::support::{executor, logits, open, written};

#[test]
fn a_split_file_computes_what_the_whole_one_does() {
    let file = tiny_model(&TinyModel { layers: 3, ..TinyModel::default() });
    let (_folder, whole) = written(&file);
    let expected = logits(&mut executor(), &whole, &prompt(), 24);
    for shards in [1, 2, 5, file.tensors.len()] {
        let folder = tempfile::tempdir().unwrap();
        let paths = write_shards(&file.split(shards), folder.path(), "tiny").unwrap();
        let split = open(&paths[shards - 1]);
        split.bring_in(BringIn::Populate, &mut |_| {});
        assert_eq!(split.artifact().files().len(), shards);
        assert_eq!(logits(&mut executor(), &split, &prompt(), 24), expected, "{shards} shards");
        split.verify_unchanged().unwrap();
    }
}

/// A folder of safetensors, opened.
fn folder(writer: &FolderWriter) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny");
    writer.write_to(&path).unwrap();
    let model = open(&path);
    (folder, model)
}

/// How far a logit of a folder may stand from its GGUF file's: in the mean, and at most.
///
/// Pairs of halves change the order in which a score is summed. What then differs in its last bit may be rounded to
/// another half where keys and values are kept, and to another half or brain float beside weights of these types.
fn bounds(name: &str) -> (f32, f32) {
    let is_reordered = name.starts_with("llama") || name == "smollm3";
    if is_reordered { (3e-5, 3e-4) } else { (0.0, 0.0) }
}

/// Every decoder, in each type of floats, with vectors of each type: what the GGUF file gives, whose log-probabilities
/// are held to llama.cpp's.
#[test]
fn a_folder_of_safetensors_computes_what_its_gguf_file_does() {
    let mut executor = executor();
    let mut compared = 0;
    for PeerModel { name, mut file } in peer_models() {
        let quantized = name.starts_with("llama-q") || name.starts_with("llama-iq");
        if quantized || name == "llama-factors" {
            continue;
        }
        for (vectors, shards) in [(TensorType::F32, 1), (TensorType::BF16, 3), (TensorType::F16, 1)] {
            let mut writer = FolderWriter::of(&mut file, vectors);
            writer.shards = shards;
            let (_folder, from_folder) = folder(&writer);
            let (_file, from_file) = written(&file);
            assert_eq!(from_folder.artifact().files().len(), shards);
            let ours = logits(&mut executor, &from_folder, &prompt(), 24);
            let theirs = logits(&mut executor, &from_file, &prompt(), 24);
            let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
            let differences: Vec<f32> = pairs.map(|(ours, theirs)| (ours - theirs).abs()).collect();
            let mean = differences.iter().sum::<f32>() / differences.len() as f32;
            let most = differences.iter().copied().fold(0.0, f32::max);
            println!("{name}, vectors {vectors}: |Δ logit| {mean:.8} in the mean, {most:.8} at most");
            let (mean_max, most_max) = bounds(&name);
            assert!(mean <= mean_max && most <= most_max, "{name}, vectors {vectors}: {mean}, {most}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 11);
}

#[test]
fn weights_lie_where_the_files_are_mapped() {
    let mut file = tiny_model(&TinyModel { ty: TensorType::BF16, ..TinyModel::default() });
    for vectors in [TensorType::F32, TensorType::F16] {
        let mut writer = FolderWriter::of(&mut file, vectors);
        writer.shards = 2;
        let (_folder, model) = folder(&writer);
        let artifact = model.artifact();
        let is_mapped =
            |bytes: *const u8| artifact.files().iter().any(|file| file.bytes().as_ptr_range().contains(&bytes));
        let plan = model.plan();
        let layers = plan.layers.iter().flat_map(|layer| {
            let (attention, feed_forward) = (&layer.attention, &layer.feed_forward);
            let attention = [&attention.query, &attention.key, &attention.value, &attention.output];
            attention.into_iter().chain([&feed_forward.gate, &feed_forward.up, &feed_forward.down])
        });
        for linear in layers.chain([&plan.output]) {
            assert!(is_mapped(linear.weight.matrix(artifact).bytes().as_ptr()), "{}", linear.weight.name());
        }
        // A layer's gains: in the file as they are, or converted and counted.
        let gain = plan.layers[0].attention.norm.values(artifact).as_ptr();
        assert_eq!(is_mapped(gain.cast()), vectors == TensorType::F32);
        let gains = 4 * (2 * plan.layers.len() + 1) * plan.hidden;
        assert_eq!(plan.converted_bytes, if vectors == TensorType::F32 { 0 } else { gains });
        assert!(model.descriptor().memory_bytes() > plan.converted_bytes);
    }
}

/// Vectors of halves in front of others leave them on borders of two bytes.
#[test]
fn tensors_off_their_borders_compute_the_same() {
    let mut file = tiny_model(&TinyModel { layers: 1, ..TinyModel::default() });
    let mut writer = FolderWriter::of(&mut file, TensorType::F32);
    let (_first, aligned) = folder(&writer);
    let expected = logits(&mut executor(), &aligned, &prompt(), 24);
    let odd = FolderTensor {
        name: "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
        dtype: "I8".to_owned(),
        shape: vec![3],
        data: vec![0; 3],
    };
    writer.tensors.insert(0, odd);
    let (_second, shifted) = folder(&writer);
    assert!(shifted.plan().converted_bytes > 0, "vectors of floats were moved to their borders");
    assert_eq!(logits(&mut executor(), &shifted, &prompt(), 24), expected);
}

#[test]
fn llama3s_scaling_divides_as_converters_factors_do() {
    // What convert_hf_to_gguf.py computes for a head of 16, base 10,000, factor 8 within 1 and 4 of 64 positions.
    let factor = |pair: i32| {
        let wave = 2.0 * std::f64::consts::PI * 10_000_f64.powf(f64::from(pair) / 8.0);
        match wave {
            _ if wave < 64.0 / 4.0 => 1.0,
            _ if wave > 64.0 => 8.0,
            _ => {
                let smooth = (64.0 / wave - 1.0) / (4.0 - 1.0);
                1.0 / ((1.0 - smooth) / 8.0 + smooth)
            }
        }
    };
    let factors: Vec<f64> = (0..8).map(factor).collect();
    assert!(
        factors[0] == 1.0 && factors[7] == 8.0 && factors.iter().any(|one| *one > 1.0 && *one < 8.0),
        "{factors:?}"
    );
    let mut file = tiny_model(&TinyModel::default());
    let mut writer = FolderWriter::of(&mut file, TensorType::F32);
    writer.set(
        "rope_scaling",
        json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }),
    );
    let (_folder, model) = folder(&writer);
    for (divisor, factor) in model.plan().ropes[0].divisors.iter().zip(&factors) {
        assert!((f64::from(*divisor) / factor - 1.0).abs() < 1e-5, "{divisor} {factor}");
    }
}

#[test]
fn a_folders_tokenizer_is_its_gguf_files() {
    let mut file = tiny_model(&TinyModel::default());
    let writer = FolderWriter::of(&mut file, TensorType::F32);
    let ((_folder, ours), (_file, theirs)) = (folder(&writer), written(&file));
    let (ours, theirs) = (ours.descriptor(), theirs.descriptor());
    for text in ["hello and the other thing 2026", "<|im_start|>user\nhi<|im_end|>", "  ünïcode\n\n", ""] {
        for special in [Special::Plain, Special::Parsed] {
            let ids = |tokenizer: &Tokenizer| tokenizer.encode(text, special, Start::AsModel).unwrap();
            assert_eq!(ids(&ours.tokenizer), ids(&theirs.tokenizer), "{text:?}");
        }
    }
    assert_eq!((ours.tokenizer.bos(), ours.tokenizer.eos()), (theirs.tokenizer.bos(), theirs.tokenizer.eos()));
    assert!(ours.tokenizer.is_end(2) && ours.tokenizer.is_end(0) && !ours.tokenizer.is_end(1));
    let message = Message { role: "user".to_owned(), content: "hello".to_owned(), ..Message::default() };
    let prompt = |model: &Descriptor| {
        let template = model.template.as_ref().unwrap();
        template.encode(std::slice::from_ref(&message), &model.tokenizer, 1000).unwrap()
    };
    assert_eq!(prompt(ours), prompt(theirs));
}

/// Drops the handle that a change gives back.
fn keep(_: &mut FolderWriter) {}

fn refusal(change: impl FnOnce(&mut FolderWriter)) -> String {
    let mut writer = FolderWriter::of(&mut tiny_model(&TinyModel::default()), TensorType::BF16);
    change(&mut writer);
    let folder = tempfile::tempdir().unwrap();
    writer.write_to(folder.path()).unwrap();
    Descriptor::of(&Artifact::open(folder.path()).unwrap(), None).unwrap_err().to_string()
}

#[test]
fn rows_5_to_7_a_folder_whose_parts_do_not_fit_is_refused_by_name() {
    let text = |writer: &mut FolderWriter, name: &str, value: serde_json::Value| {
        writer.texts.insert(name.to_owned(), value.to_string().into_bytes());
    };
    let message = refusal(|writer| writer.tensor_mut("model.norm.weight").name = "model.mystery.weight".to_owned());
    assert!(message.contains("output_norm.weight"), "{message}");
    let extra = |writer: &mut FolderWriter| {
        let tensor = writer.tensors[0].clone();
        writer.tensors.push(FolderTensor { name: "model.mystery.weight".to_owned(), ..tensor });
    };
    assert!(refusal(extra).contains("`model.mystery.weight` is not part of a llama model"));
    let message = refusal(|writer| keep(writer.set("num_attention_heads", 0.into())));
    assert!(message.contains("llama.attention.head_count"), "{message}");
    let message = refusal(|writer| keep(writer.set("num_key_value_heads", 3.into())));
    assert!(message.contains("llama.attention.head_count_kv"), "{message}");
    let message = refusal(|writer| keep(writer.set("num_hidden_layers", u32::MAX.into())));
    assert!(message.contains("llama.block_count"), "{message}");
    let message = refusal(|writer| keep(writer.set("vocab_size", 274.into())));
    assert!(message.contains("vocab_size"), "{message}");
    let message = refusal(|writer| {
        for tensor in &mut writer.tensors {
            tensor.dtype = tensor.dtype.replace("F32", "I32");
        }
    });
    assert!(message.contains("I32, which is not supported"), "{message}");
    let message = refusal(|writer| {
        let mut tokenizer: serde_json::Value = serde_json::from_slice(&writer.texts["tokenizer.json"]).unwrap();
        tokenizer["model"]["vocab"]["one too many"] = 275.into();
        text(writer, "tokenizer.json", tokenizer);
    });
    assert!(message.contains("276 tokens for an embedding of 275 rows"), "{message}");
    let message = refusal(|writer| text(writer, "tokenizer.json", json!({ "model": 1 })));
    assert!(message.contains("tokenizer.json is not usable"), "{message}");
    let message = refusal(|writer| text(writer, "generation_config.json", json!({ "eos_token_id": [2, 275] })));
    assert!(message.contains("275 is no token"), "{message}");
    let message = refusal(|writer| text(writer, "tokenizer_config.json", json!({ "bos_token": "<absent>" })));
    assert!(message.contains("tokenizer.bos_token"), "{message}");
}

#[test]
fn control_tokens_without_a_row_are_text() {
    let mut writer = FolderWriter::of(&mut tiny_model(&TinyModel::default()), TensorType::F32);
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&writer.texts["tokenizer.json"]).unwrap();
    let mut image = tokenizer["added_tokens"][0].clone();
    image["id"] = 275.into();
    image["content"] = "<image>".into();
    tokenizer["added_tokens"].as_array_mut().unwrap().push(image);
    writer.texts.insert("tokenizer.json".to_owned(), tokenizer.to_string().into_bytes());
    let (_folder, model) = folder(&writer);
    let tokenizer = &model.descriptor().tokenizer;
    assert_eq!(tokenizer.len(), 275);
    let ids = tokenizer.encode("<|im_start|>a <image>", Special::Parsed, Start::AsModel).unwrap();
    assert!(ids[0] == 1 && ids.iter().all(|id| *id < 275), "{ids:?}");
}

#[test]
fn padded_embeddings_are_accepted() {
    let mut writer = FolderWriter::of(&mut tiny_model(&TinyModel::default()), TensorType::F32);
    let embedding = writer.tensor_mut("model.embed_tokens.weight");
    embedding.shape[0] += 13;
    embedding.data.resize(embedding.data.len() + 13 * 64 * 4, 0);
    writer.set("vocab_size", 288.into());
    let (_folder, model) = folder(&writer);
    assert_eq!((model.plan().vocabulary, model.descriptor().tokenizer.len()), (288, 275));
    assert_eq!(logits(&mut executor(), &model, &prompt(), 24)[0].len(), 288);
}

/// As with GGUF files: what a configuration says is refused, or computes, if only numbers that mean nothing.
#[test]
fn no_number_of_a_configuration_makes_the_reader_or_a_step_panic() {
    let mut executor = executor();
    let mut computed = 0;
    for architecture in [Architecture::Llama, Architecture::SmolLm3, Architecture::Gemma3] {
        let shape = TinyModel { architecture, layers: 1, head_dim: Some(16), ..TinyModel::default() };
        let mut writer = FolderWriter::of(&mut tiny_model(&shape), TensorType::F16);
        let scaling = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64 });
        writer.set("rope_scaling", scaling.clone());
        let folder = tempfile::tempdir().unwrap();
        writer.write_to(folder.path()).unwrap();
        let numbers = writer.config.iter().filter(|(_, value)| value.is_number()).map(|(key, _)| key.clone());
        let scalings = scaling.as_object().unwrap().keys().filter(|key| *key != "rope_type").cloned();
        let numbers: Vec<(Option<&str>, String)> =
            numbers.map(|key| (None, key)).chain(scalings.map(|key| (Some("rope_scaling"), key))).collect();
        for (outer, key) in numbers {
            for value in [json!(0), json!(1), json!(3), json!(u32::MAX), json!(-1.0), json!(1e-40), json!(1e38)] {
                let mut config = serde_json::Value::Object(writer.config.clone());
                match outer {
                    Some(outer) => config[outer][&key] = value.clone(),
                    None => config[&key] = value.clone(),
                }
                std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
                let Ok(artifact) = Artifact::open(folder.path()) else { continue };
                let Ok(descriptor) = Descriptor::of(&artifact, None) else { continue };
                let model = Model::new(artifact, std::sync::Arc::new(descriptor));
                assert_eq!(logits(&mut executor, &model, &[4, 5, 6, 7], 2).len(), 4, "{key} = {value}");
                computed += 1;
            }
        }
    }
    assert!(computed > 20, "some values are harmless: {computed}");
}
