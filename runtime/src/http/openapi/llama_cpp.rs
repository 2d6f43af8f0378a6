//! What llama.cpp's server has beside OpenAI's interface.

use models::limits::{CHOICES_MAX, LOGIT_BIAS_MAX};

use super::form::{
    Form, Member, always, any_object, asked, at_times, closed, count, either, flag, list, list_of, maybe, must, named,
    nothing_of, number, open, or_null, text, text_of, told, whole, word,
};
use super::generation::{
    empty, keep_alive, messages, model, most, stops, stream, template_options, top_logprobs, urgency,
};
use super::operation::{Operation, Tag};
use super::sampling::{absent_samplers, biases, sampling};
use crate::http::llama_cpp::request::{EMPTY, HARMLESS, OFF, ZERO};
use crate::limits::{DETOKENIZE_TOKENS_MAX, RESPONSE_FIELDS_MAX, TOKENIZE_BYTES_MAX, TOKENS_MAX};

/// `POST /completion`, and by its other name.
pub(in crate::http) fn completion(id: &'static str) -> Operation {
    let tokens = |name| {
        maybe(
            name,
            whole("Tokens of an answer at most; 0 computes the prompt alone, -1 is no bound.", -1..=TOKENS_MAX.into()),
        )
    };
    let choices = |name| maybe(name, whole("Answers for each prompt.", 1..=most(CHOICES_MAX)));
    let mut members = vec![
        model(),
        must("prompt", named("Prompt")),
        stream(),
        maybe("return_tokens", flag("Whether the ids of an answer's tokens are shown.")),
        top_logprobs("n_probs", "Alternatives for each token."),
        choices("n_cmpl"),
        choices("n"),
        tokens("n_predict"),
        tokens("max_tokens"),
        stops("stop"),
        maybe("ignore_eos", flag("Whether the token that ends a text is no end.")),
        keep_alive(),
    ];
    let drawing = sampling().into_iter().filter(|member| !member.is_called("logit_bias"));
    members.extend(drawing);
    members.push(maybe("logit_bias", either("What is added to tokens' logits.", [biases(), pairs()])));
    members.extend(absent_samplers());
    members.extend(urgency());
    members.extend(without());
    let whole = either("", [answer(), list("Of several.", answer())]);
    Operation::new(id, Tag::LlamaCpp, "Goes on with texts.")
        .takes(closed("Texts to go on with.", members))
        .computes()
        .answers(whole)
        .answers_events(answer())
}

/// Pairs of a token's id and its bias.
fn pairs() -> Form {
    let pair = list_of(
        "A token's id, and a number, or `false` for never.",
        either("", [number(""), always("", false)]),
        2..=2,
    );
    list_of("Each token once.", pair, 0..=LOGIT_BIAS_MAX)
}

/// What changes no answer, and what there is not in the forms that ask for nothing.
fn without() -> Vec<Member> {
    let mut members = vec![
        maybe("cache_prompt", flag("What was computed is always used.")),
        maybe("top_n_sigma", whole("Not supported.", -1..=-1)),
        maybe("samplers", list("In llama.cpp's own order, in which those that are off may stand.", text(""))),
        maybe("json_schema", named("JsonSchema")),
        maybe("grammar", text("In GBNF, from `root` on.")),
    ];
    let paths =
        "What an answer's end has, and nothing else: names, of what lies within another behind that and a slash.";
    members.push(maybe("response_fields", list_of(paths, text(""), 0..=RESPONSE_FIELDS_MAX)));
    members.extend(HARMLESS.map(|name| maybe(name, whole("Means nothing here.", i32::MIN.into()..=i32::MAX.into()))));
    members.extend(EMPTY.map(|name| maybe(name, empty())));
    members.extend(ZERO.map(|name| maybe(name, whole("Not supported.", 0..=0))));
    members.extend(OFF.map(|name| maybe(name, always("Not supported.", false))));
    members
}

fn answer() -> Form {
    let mut members = vec![
        at_times("index", count("Which answer it is.")),
        at_times("content", text("The text, or a part of it.")),
        at_times("tokens", list("Its ids, where they are shown.", count(""))),
        at_times("id_slot", whole("", -1..=-1)),
        at_times("stop", flag("Whether it is the end of this answer.")),
        at_times("tokens_predicted", count("")),
        at_times("tokens_evaluated", count("Of the prompt.")),
    ];
    members.extend([
        at_times("model", text("As the request names it.")),
        at_times("tokens_cached", count("")),
        at_times("truncated", always("Nothing is cut.", false)),
        at_times("stop_type", word("", &["limit", "word", "eos"])),
        at_times("stopping_word", text("")),
        at_times("has_new_line", flag("")),
        at_times("generation_settings", any_object("As asked.")),
        at_times("timings", timings()),
        at_times("dayfly", named("Receipt")),
        maybe("prompt", text("")),
        at_times("completion_probabilities", list("", named("TokenScore"))),
    ]);
    let about = "An answer, or a part of one; what `response_fields` asks for alone, where it is said, by its paths.";
    open(about, members)
}

fn timings() -> Form {
    let mut members = vec![must("cache_n", count(""))];
    for [n, ms, per_token, per_second] in [
        ["prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second"],
        ["predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second"],
    ] {
        members.extend([
            must(n, count("")),
            must(ms, number("")),
            or_null(per_token, number("Of nothing there is no mean.")),
            or_null(per_second, number("Of nothing there is no mean.")),
        ]);
    }
    open("Of all answers together.", members)
}

/// `POST /apply-template`.
pub(in crate::http) fn apply_template() -> Operation {
    let mut members = vec![model(), must("messages", messages())];
    members.extend(template_options());
    Operation::new("applyTemplate", Tag::LlamaCpp, "A conversation as the text that the model would see.")
        .takes(closed("", members))
        .of_a_model()
        .answers(told("", [must("prompt", text(""))]))
}

/// `POST /tokenize`.
pub(in crate::http) fn tokenize() -> Operation {
    let content = [
        model(),
        must("content", text_of("In so many bytes.", 0..=TOKENIZE_BYTES_MAX)),
        maybe("add_special", flag("Whether the model's own first token comes first.")),
        maybe("parse_special", flag("Whether special tokens that it spells are read as such; they are unless told.")),
        maybe("with_pieces", flag("Whether each token comes with its text.")),
    ];
    let texts = || maybe("return_token_strs", flag("Whether the texts of tokens are told."));
    let prompt = [
        model(),
        must("prompt", text_of("In so many bytes.", 0..=TOKENIZE_BYTES_MAX)),
        maybe("add_special_tokens", flag("Whether the model's own first token comes first; it does unless told.")),
        texts(),
    ];
    let mut chat = vec![
        model(),
        must("messages", messages()),
        maybe("add_special_tokens", always("Its template writes them.", false)),
        texts(),
    ];
    chat.extend(template_options());
    let asked = either(
        "A text as llama.cpp has it; a text or a conversation as vLLM has it.",
        [asked("", content), asked("", prompt), closed("", chat)],
    );
    let piece = either("Its text; its bytes where they are none.", [text(""), list("", count(""))]);
    let token = either("", [count("Its id."), told("", [must("id", count("")), must("piece", piece)])]);
    let members = vec![
        must("tokens", list("", token)),
        at_times("count", count("For `prompt` and `messages`: how many there are.")),
        at_times("max_model_len", count("Positions of prompt and answer together.")),
        maybe("token_strs", list("", text(""))),
    ];
    Operation::new("tokenize", Tag::LlamaCpp, "A text as token ids; no model is loaded for it.")
        .takes(asked)
        .of_a_model()
        .answers(open("", members))
}

/// `POST /detokenize`.
pub(in crate::http) fn detokenize() -> Operation {
    let ids = list_of("Of the model's vocabulary.", whole("", 0..=u32::MAX.into()), 0..=DETOKENIZE_TOKENS_MAX);
    Operation::new("detokenize", Tag::LlamaCpp, "Token ids as a text; no model is loaded for it.")
        .takes(asked("", [model(), must("tokens", ids)]))
        .of_a_model()
        .answers(told("", [must("content", text("")), must("prompt", text("The same, as vLLM calls it."))]))
}

/// `GET /props`.
pub(in crate::http) fn props() -> Operation {
    let settings =
        told("", [must("n_ctx", count("")), or_null("params", any_object("What holds where nothing is said."))]);
    let mut members = vec![
        must("total_slots", count("")),
        must("model_path", text("")),
        must("default_generation_settings", settings),
        must("build_info", text("")),
    ];
    for name in ["role", "model_alias", "chat_template", "bos_token", "eos_token"] {
        members.push(at_times(name, text("")));
    }
    members.push(at_times("models_autoload", flag("")));
    members.push(at_times("modalities", told("", [must("vision", flag("")), must("audio", flag(""))])));
    Operation::new("props", Tag::LlamaCpp, "What a model is, or without one what the server is.")
        .asks("model", text("The model."))
        .asks("autoload", text("Nothing is loaded for this."))
        .of_a_model()
        .answers(open("", members))
}

/// `GET /lora-adapters`.
pub(in crate::http) fn adapters() -> Operation {
    Operation::new("llamaCppAdapters", Tag::LlamaCpp, "There are none.").answers(nothing_of("Not supported."))
}

/// `GET /health`, and by its other name.
pub(in crate::http) fn health(id: &'static str) -> Operation {
    Operation::new(id, Tag::LlamaCpp, "Whether the server can serve.")
        .fails(&[axum::http::StatusCode::SERVICE_UNAVAILABLE])
        .answers(told("", [must("status", word("", &["ok"]))]))
}
