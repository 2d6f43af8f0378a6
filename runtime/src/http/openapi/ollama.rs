//! Ollama's interface.

use axum::http::StatusCode;
use models::limits::PASSAGES_MAX;

use super::form::{
    Form, Member, always, any_object, anything, at_times, closed, count, either, flag, list, list_of, map, maybe, must,
    named, nothing_of, number, open, or_null, text, text_like, text_of, told, whole, with_one_of, word,
};
use super::generation::{empty, function, keep_alive, stops, top_logprobs};
use super::operation::{Operation, Tag};
use super::sampling::{absent_samplers, sampling};
use super::shared::receipt;
use crate::http::ollama::options::{RESOURCE_FLAGS, RESOURCES};
use crate::http::wire::EFFORTS;
use crate::limits::{MESSAGES_MAX, TOKENS_MAX, TOOL_CALLS_MAX, TOOLS_MAX};

/// `POST /api/generate`.
pub(in crate::http) fn generate() -> Operation {
    let mut members = common();
    members.extend([
        maybe("prompt", text("Without one the model is loaded, or with `keep_alive: 0` let go.")),
        maybe("system", text("What stands first; not with `raw`.")),
        maybe("raw", flag("Whether the prompt goes by no template.")),
        maybe("suffix", empty()),
        maybe("template", empty()),
        maybe("context", empty()),
        maybe("images", empty()),
    ]);
    answers("ollamaGenerate", "Goes on with a text.", members, must("response", text("The text, or a part of it.")))
}

/// `POST /api/chat`.
pub(in crate::http) fn chat() -> Operation {
    let mut members = common();
    members
        .push(maybe("messages", list_of("Without any the model is loaded, or let go.", message(), 0..=MESSAGES_MAX)));
    members.push(maybe("tools", list_of("Functions that may be called.", tool(), 0..=TOOLS_MAX)));
    let said = told(
        "",
        [
            must("role", word("", &["assistant"])),
            must("content", text("The text, or a part of it.")),
            at_times("thinking", text("What the model thought.")),
            at_times("tool_calls", list("", called())),
        ],
    );
    answers("ollamaChat", "Goes on with a conversation.", members, must("message", said))
}

/// A call that the model made.
fn called() -> Form {
    let function = told(
        "",
        [must("index", count("")), must("name", text("")), must("arguments", any_object("Whatever the model wrote."))],
    );
    told("", [must("id", text("")), must("function", function)])
}

fn answers(id: &'static str, summary: &'static str, members: Vec<Member>, part: Member) -> Operation {
    let mut whole = vec![
        must("model", text("As the request names it.")),
        must("created_at", text("Now, by RFC 3339.")),
        must("done", flag("Whether it is the last.")),
        part,
        at_times("thinking", text("What the model thought.")),
        at_times("logprobs", list("Of each token, where they are asked for.", named("TokenScore"))),
        at_times("done_reason", word("Why it ended.", &["stop", "length", "load", "unload"])),
    ];
    for (name, about) in [
        ("total_duration", "In nanoseconds, as all durations."),
        ("load_duration", "Waited for the model."),
        ("prompt_eval_count", "Tokens of the prompt."),
        ("prompt_eval_duration", "Computing it."),
        ("eval_count", "Tokens generated."),
        ("eval_duration", "Generating them."),
    ] {
        whole.push(at_times(name, count(about)));
    }
    whole.push(at_times("dayfly", named("Receipt")));
    let form = open("An answer, or a line of one; the last has counts, durations and the receipt.", whole);
    Operation::new(id, Tag::Ollama, summary)
        .takes(naming("What is asked; a stream comes unless `stream` is false.", members))
        .computes()
        .answers(form.clone())
        .answers_lines(form)
}

/// `model`, or its older name.
fn names() -> [Member; 2] {
    let about = "The model; `:latest` behind it says nothing.";
    [
        maybe("model", text_of(about, 1..=usize::MAX)),
        maybe("name", text_of("The same, as it was once called.", 1..=usize::MAX)),
    ]
}

/// A body that names its model by one of the two.
fn naming(about: &str, members: Vec<Member>) -> Form {
    with_one_of(&["model", "name"], closed(about, members))
}

fn common() -> Vec<Member> {
    let mut members: Vec<Member> = names().into();
    members.extend([
        maybe("stream", flag("Whether the answer comes as it is made; it does unless told.")),
        keep_alive(),
        maybe("logprobs", flag("Whether log-probabilities are shown.")),
        top_logprobs("top_logprobs", "Alternatives for each token; for `logprobs: true` alone."),
        maybe("options", options()),
        maybe("truncate", flag("Nothing is cut either way.")),
        maybe("shift", flag("Nothing is cut either way.")),
        maybe("format", either("What the answer keeps to.", [word("", &["", "json"]), named("JsonSchema")])),
        maybe("think", either("Whether the model is to think, or how much.", [flag(""), word("", &EFFORTS)])),
    ]);
    members
}

fn options() -> Form {
    let mut members = sampling();
    members.extend(absent_samplers());
    members.extend([
        maybe("num_predict", whole("Tokens of an answer at most; below 1 there is no bound.", -2..=TOKENS_MAX.into())),
        maybe("num_ctx", whole("Positions of prompt and answer together.", 1..=TOKENS_MAX.into())),
        stops("stop"),
        maybe("vocab_only", always("Not supported.", false)),
        maybe("penalize_newline", always("Penalties are for every token.", true)),
    ]);
    let number = |name| maybe(name, whole("The operator's to say.", i32::MIN.into()..=i32::MAX.into()));
    members.extend(RESOURCES.map(number));
    members.extend(RESOURCE_FLAGS.map(|name| maybe(name, flag("The operator's to say."))));
    closed("How tokens are drawn, and when an answer ends.", members)
}

fn tool() -> Form {
    let function = closed("", function(maybe("parameters", any_object("A JSON schema of its arguments."))));
    closed("", vec![maybe("type", word("", &["function"])), must("function", function)])
}

fn call() -> Form {
    let function = vec![
        must("name", text("")),
        maybe("arguments", any_object("")),
        maybe("index", whole("As answers have it.", 0..=u32::MAX.into())),
    ];
    closed(
        "",
        vec![maybe("id", text("")), maybe("type", word("", &["function"])), must("function", closed("", function))],
    )
}

/// A message: what its role does not have may be there, and empty.
fn message() -> Form {
    let said = |role: &str| {
        let members = [must("role", text_like("In letters of either case.", role)), maybe("content", text(""))];
        let mut members: Vec<Member> = members.into();
        members.push(maybe("images", nothing_of("Not supported.")));
        members
    };
    let mut others = said("^([sS][yY][sS][tT][eE][mM]|[uU][sS][eE][rR])$");
    others.extend(["tool_calls", "thinking", "tool_name", "tool_call_id"].map(|name| maybe(name, empty())));
    let mut answers = said("^[aA][sS][sS][iI][sS][tT][aA][nN][tT]$");
    answers.extend([
        maybe("tool_calls", list_of("", call(), 0..=TOOL_CALLS_MAX)),
        maybe("thinking", text("What it thought.")),
        maybe("tool_name", empty()),
        maybe("tool_call_id", empty()),
    ]);
    let mut results = said("^[tT][oO][oO][lL]$");
    results.extend([
        maybe("tool_name", text("Which function it is of.")),
        maybe("tool_call_id", text("Which call it answers.")),
        maybe("tool_calls", empty()),
        maybe("thinking", empty()),
    ]);
    either("A message.", [others, answers, results].map(|members| closed("", members)))
}

/// `POST /api/embed`.
pub(in crate::http) fn embed() -> Operation {
    let several = list_of("", text_of("", 1..=usize::MAX), 1..=PASSAGES_MAX);
    let mut members: Vec<Member> = names().into();
    members.extend([
        must("input", either("Texts to make vectors of.", [text_of("", 1..=usize::MAX), several])),
        maybe("truncate", flag("Nothing is cut either way.")),
        maybe("dimensions", whole("As many as the model's vectors have.", 1..=u32::MAX.into())),
        maybe("options", options()),
        keep_alive(),
    ]);
    let form = told(
        "",
        [
            must("model", text("As the request names it.")),
            must("embeddings", list("", list("", number("")))),
            must("total_duration", count("In nanoseconds.")),
            must("load_duration", count("Waited for the model.")),
            must("prompt_eval_count", count("Tokens of the texts.")),
            receipt(),
        ],
    );
    Operation::new("ollamaEmbed", Tag::Ollama, "Makes vectors of texts.")
        .takes(naming("", members))
        .computes()
        .answers(form)
}

/// `POST /api/embeddings`.
pub(in crate::http) fn embeddings() -> Operation {
    let mut members: Vec<Member> = names().into();
    members.extend([
        must("prompt", text_of("A text to make a vector of.", 1..=usize::MAX)),
        maybe("options", options()),
        keep_alive(),
    ]);
    Operation::new("ollamaEmbeddings", Tag::Ollama, "Makes a vector of one text.")
        .takes(naming("", members))
        .computes()
        .answers(told("", [must("embedding", list("", number(""))), receipt()]))
}

fn details() -> Form {
    told(
        "What kind of model it is; empty where that is not known yet.",
        [
            must("parent_model", text("")),
            must("format", text("")),
            must("family", text("")),
            or_null("families", list("", text(""))),
            must("parameter_size", text("")),
            must("quantization_level", text("")),
        ],
    )
}

fn about_model() -> [Member; 4] {
    [
        must("name", text("")),
        must("model", text("")),
        must("digest", text("Tells versions of it apart; no hash of its bytes.")),
        must("details", details()),
    ]
}

/// `GET /api/tags`.
pub(in crate::http) fn tags() -> Operation {
    let mut members: Vec<Member> = about_model().into();
    members.extend([must("modified_at", text("By RFC 3339.")), must("size", count("Bytes of its files."))]);
    Operation::new("ollamaTags", Tag::Ollama, "Lists the models, by every name.")
        .answers(told("", [must("models", list("", open("", members)))]))
}

/// `GET /api/ps`.
pub(in crate::http) fn running() -> Operation {
    let mut members: Vec<Member> = about_model().into();
    members.extend([
        must("size", count("Bytes of its weights.")),
        must("size_vram", count("Those of them on a card.")),
        must("expires_at", text("By RFC 3339.")),
        or_null("context_length", count("")),
    ]);
    Operation::new("ollamaPs", Tag::Ollama, "Lists the models in memory.")
        .answers(told("", [must("models", list("", open("", members)))]))
}

/// `POST /api/show`.
pub(in crate::http) fn show() -> Operation {
    let mut members: Vec<Member> = names().into();
    members.push(maybe("verbose", flag("Whether long lists are told.")));
    let form = told(
        "",
        [
            must("license", text("")),
            must("modelfile", text("")),
            must("parameters", text("")),
            must("template", text("")),
            must("details", details()),
            must("model_info", map("The header's keys and values.", anything(""), None)),
            must("capabilities", list("", text(""))),
            must("modified_at", text("By RFC 3339.")),
        ],
    );
    Operation::new("ollamaShow", Tag::Ollama, "Tells what a model is.")
        .takes(naming("", members))
        .of_a_model()
        .answers(form)
}

/// `POST /api/pull`.
pub(in crate::http) fn pull() -> Operation {
    let mut members: Vec<Member> = names().into();
    members.extend([
        maybe("stream", flag("Whether it is told how far it is; it is unless told.")),
        maybe("insecure", always("Not supported.", false)),
    ]);
    let line = told(
        "",
        [
            must("status", text("What is going on; `success` is the last.")),
            at_times("digest", text("")),
            at_times("total", count("Bytes.")),
            at_times("completed", count("Those of them that are there.")),
        ],
    );
    Operation::new("ollamaPull", Tag::Ollama, "Brings a model.")
        .takes(naming("", members))
        .of_a_model()
        .fails(&[StatusCode::BAD_GATEWAY, StatusCode::NOT_IMPLEMENTED])
        .answers(line.clone())
        .answers_lines(line)
}

/// `DELETE /api/delete`.
pub(in crate::http) fn delete() -> Operation {
    Operation::new("ollamaDelete", Tag::Ollama, "Deletes a model's files.")
        .takes(naming("", names().into()))
        .of_a_model()
        .fails(&[StatusCode::CONFLICT])
        .answers_nothing(StatusCode::OK, "It is gone; from memory as soon as nobody uses it.")
}

/// `GET /api/version`.
pub(in crate::http) fn version() -> Operation {
    Operation::new("ollamaVersion", Tag::Ollama, "The version of Ollama whose interface this is.")
        .answers(told("", [must("version", text(""))]))
}
