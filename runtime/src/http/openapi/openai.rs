//! OpenAI's interface but for its responses, and reranking.

use axum::http::StatusCode;
use models::limits::{PASSAGES_MAX, TOP_LOGPROBS_MAX};
use serde_json::json;
use utoipa::openapi::ComponentsBuilder;

use super::form::{
    Form, Member, always, asked, at_times, closed, count, either, flag, list, list_of, map, maybe, must, named, null,
    number, open, or_null, saying, text, text_of, told, whole, word,
};
use super::generation::{
    common, harmless, keep_alive, max_tokens, messages, model, most, options, prompt, top_logprobs, urgency,
};
use super::operation::{Operation, Tag};
use super::shared::{receipt, scored, with};
use crate::http::anthropic::VERSION_HEADER;
use crate::http::wire::{embedding, rerank, score};

/// `POST /v1/chat/completions`.
pub(in crate::http) fn chat_completions() -> Operation {
    let mut members = vec![
        must("messages", messages()),
        max_tokens("max_completion_tokens", 1),
        max_tokens("max_tokens", 1),
        maybe("logprobs", flag("Whether log-probabilities are shown.")),
        top_logprobs("top_logprobs", "Alternatives for each token; for `logprobs: true` alone."),
    ];
    members.extend(common());
    members.extend(options());
    generates("createChatCompletion", "Goes on with a conversation.", closed("A conversation to go on with.", members))
        .answers(chat_answer())
        .answers_events(chat_chunk())
        .tells_of_cache()
}

/// `POST /v1/completions`.
pub(in crate::http) fn completions() -> Operation {
    let mut members = vec![
        must("prompt", named("Prompt")),
        maybe("echo", flag("Whether each prompt is part of its answers.")),
        maybe(
            "parse_special",
            flag("Whether special tokens that the prompt spells are read as such; they are unless told."),
        ),
        max_tokens("max_tokens", 0),
        maybe("logprobs", whole("Alternatives for each token.", 0..=most(TOP_LOGPROBS_MAX))),
        maybe("best_of", whole("As many as `n`.", 1..=u32::MAX.into())),
        maybe("suffix", text_of("Not supported.", 0..=0)),
        maybe("add_generation_prompt", always("There is no message.", true)),
        maybe("continue_final_message", always("There is no message.", false)),
    ];
    members.extend(common());
    // Of nothing but its prompt an answer is for who wants that told.
    let echoed = json!({ "required": ["echo"], "properties": { "echo": { "const": true } } });
    let generating = json!({ "properties": { "max_tokens": { "minimum": 1 } } });
    let form = saying("anyOf", json!([generating, echoed]), closed("Texts to go on with.", members));
    generates("createCompletion", "Goes on with texts.", form)
        .answers(text_answer())
        .answers_events(text_answer_of("A part of a stream.", Settled::AtTheEnd))
        .tells_of_cache()
}

fn generates(id: &'static str, summary: &'static str, form: Form) -> Operation {
    Operation::new(id, Tag::OpenAi, summary).takes(form).computes()
}

/// `POST /v1/embeddings`.
pub(in crate::http) fn embeddings() -> Operation {
    let mut members = vec![
        model(),
        must("input", prompt("Texts to make vectors of.", (1, PASSAGES_MAX))),
        maybe("encoding_format", word("How vectors are written.", &["float", "base64"])),
        maybe("dimensions", whole("As many as the model's vectors have.", 1..=u32::MAX.into())),
        keep_alive(),
    ];
    members.extend(urgency());
    members.extend(harmless());
    generates("createEmbedding", "Makes vectors of texts.", closed("Texts to make vectors of.", members))
        .answers(named("Embeddings"))
}

/// `POST /v1/rerank`, and by its other names.
pub(in crate::http) fn ranking(id: &'static str) -> Operation {
    let asked_with = |name: &'static str, more: Vec<Member>| {
        let document = either("", [text(""), asked("", [must("text", text(""))])]);
        let mut members = vec![
            model(),
            must("query", text_of("What they are ranked by.", 1..=usize::MAX)),
            must(name, list_of("What is ranked.", document, 1..=PASSAGES_MAX)),
            maybe("top_n", whole("The best so many.", 1..=u32::MAX.into())),
            keep_alive(),
        ];
        members.extend(more);
        members.extend(urgency());
        members.extend(harmless());
        closed("", members)
    };
    let documents = vec![maybe("return_documents", flag("Whether a result has its document."))];
    let texts = vec![
        maybe("return_text", flag("Whether a result has its text.")),
        maybe("raw_scores", always("Scores are probabilities.", false)),
        maybe("truncate", always("Nothing is cut.", false)),
    ];
    let form = either(
        "As Jina and Cohere have it, or as text-embeddings-inference has it.",
        [asked_with("documents", documents), asked_with("texts", texts)],
    );
    generates(id, "Orders documents by what they have to do with a query.", form)
        .answers(either("", [named("Ranking"), list("To `texts`.", named("RankedText"))]))
}

/// `POST /v1/score`, and by its other name.
pub(in crate::http) fn scores(id: &'static str) -> Operation {
    let texts = |about: &str| {
        let one = || text_of("", 1..=usize::MAX);
        either(about, [one(), list_of("", one(), 1..=PASSAGES_MAX)])
    };
    let mut members = vec![
        model(),
        must("text_1", texts("One for all of `text_2`, or as many.")),
        must("text_2", texts("What each is held against.")),
        keep_alive(),
    ];
    members.extend(urgency());
    members.extend(harmless());
    generates(id, "Scores pairs of texts.", closed("Pairs of texts, as vLLM has them.", members))
        .answers(named("Scores"))
}

/// `GET /v1/models`.
pub(in crate::http) fn models() -> Operation {
    let list = told(
        "",
        [
            must("object", word("", &["list"])),
            must("data", list("By name.", named("Model"))),
            must("has_more", flag("")),
            or_null("first_id", text("")),
            or_null("last_id", text("")),
        ],
    );
    in_either_words(Operation::new("listModels", Tag::OpenAi, "Lists the models that are open to the key."))
        .answers(list)
}

/// `GET /v1/models/{id}`.
pub(in crate::http) fn one_model() -> Operation {
    in_either_words(Operation::new("getModel", Tag::OpenAi, "Tells of one model."))
        .at("id", text("The model's name, or another name for it."))
        .answers(named("Model"))
        .of_a_model()
}

/// The lists of models are OpenAI's and Anthropic's both.
fn in_either_words(operation: Operation) -> Operation {
    operation.hears(VERSION_HEADER, text("Where it is there, errors are told in Anthropic's words."))
}

impl Operation {
    fn tells_of_cache(self) -> Self {
        let about = "Where an earlier answer was looked for, whether there was one.";
        self.tells("x-dayfly-response-cache", word(about, &["hit", "miss"]))
            // What the answers keep to is compiled, and a context may be of another model.
            .fails(&[StatusCode::BAD_REQUEST])
    }
}

/// What every answer and every chunk begins with.
fn head(object: &str) -> Vec<Member> {
    vec![
        must("id", text("The receipt is found by it.")),
        must("object", word("", &[object])),
        must("created", count("When the request came, in seconds since 1970.")),
        must("model", text("As the request names it.")),
        at_times("service_tier", text("Where the request says one.")),
        must("system_fingerprint", text("What made it: with another, a seed may give another text.")),
    ]
}

/// Where usage and receipt stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    Always,
    AtTheEnd,
}

fn answer(about: &str, object: &str, choice: Form, settled: Settled) -> Form {
    let mut members = head(object);
    members.push(must("choices", list("", choice)));
    match settled {
        Settled::Always => members.extend([must("usage", named("Usage")), receipt()]),
        Settled::AtTheEnd => {
            members.extend([maybe("usage", named("Usage")), at_times("dayfly", named("Receipt"))]);
        }
    }
    open(about, members)
}

fn finish(words: &[&str]) -> Member {
    or_null("finish_reason", word("Why it ended; null while it goes on.", words))
}

fn chat_logprobs() -> Member {
    let mut token = scored();
    token.push(must("top_logprobs", list("The likeliest in its place.", open("", scored()))));
    let tokens = list("Of each token.", open("", token));
    or_null("logprobs", told("", [must("content", tokens), must("refusal", null())]))
}

const CHAT_ENDS: [&str; 3] = ["stop", "length", "tool_calls"];

fn called(of_stream: bool) -> Form {
    let function = told("", [must("name", text("")), must("arguments", text("JSON, as a text."))]);
    let mut members = vec![must("id", text("")), must("type", word("", &["function"])), must("function", function)];
    if of_stream {
        members.push(must("index", count("Which call of the answer it is.")));
    }
    open("", members)
}

fn chat_answer() -> Form {
    let message = told(
        "",
        [
            must("role", word("", &["assistant"])),
            or_null("content", text("Null where the answer is nothing but calls.")),
            at_times("reasoning_content", text("What the model thought.")),
            at_times("tool_calls", list("Functions to call.", called(false))),
            must("refusal", null()),
        ],
    );
    let choice = told("", [must("index", count("")), must("message", message), chat_logprobs(), finish(&CHAT_ENDS)]);
    answer("A whole answer.", "chat.completion", choice, Settled::Always)
}

fn chat_chunk() -> Form {
    let delta = told(
        "",
        [
            at_times("role", word("", &["assistant"])),
            at_times("content", text("")),
            at_times("reasoning_content", text("")),
            at_times("tool_calls", list_of("", called(true), 1..=1)),
        ],
    );
    let choice = told("", [must("index", count("")), must("delta", delta), chat_logprobs(), finish(&CHAT_ENDS)]);
    answer("A part of a stream.", "chat.completion.chunk", choice, Settled::AtTheEnd)
}

fn text_answer() -> Form {
    text_answer_of("A whole answer.", Settled::Always)
}

fn text_answer_of(about: &str, settled: Settled) -> Form {
    let top = map("By the tokens' texts.", number(""), None);
    let logprobs = told(
        "Parallel lists.",
        [
            must("tokens", list("", text(""))),
            must("token_logprobs", list("", either("", [number(""), null()]))),
            must("top_logprobs", list("", either("", [top, null()]))),
            must("text_offset", list("In characters.", count(""))),
        ],
    );
    let choice = told(
        "",
        [must("text", text("")), must("index", count("")), or_null("logprobs", logprobs), finish(&["stop", "length"])],
    );
    answer(about, "text_completion", choice, settled)
}

/// What is written by types.
pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    let components = with::<rerank::RankedText<'static>>(with::<rerank::Body<'static>>(components));
    with::<embedding::Body<'static>>(with::<score::Body<'static>>(components))
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    let state = word("Whether it is in memory.", &["loaded", "loading", "unloading", "unloaded"]);
    let can = word("", &["chat", "completion", "embedding", "rerank"]);
    let model = told(
        "A model.",
        [
            must("id", text("")),
            must("object", word("", &["model"])),
            must("created", count("When its file was written, in seconds since 1970.")),
            must("owned_by", text("")),
            must("type", word("As Anthropic's clients look for it.", &["model"])),
            must("display_name", text("")),
            must("created_at", text("The same moment, by RFC 3339.")),
            must("lifecycle", word("As Anthropic's clients look for it.", &["active"])),
            must("state", state),
            must("size_bytes", count("Of its files.")),
            at_times("capabilities", list("What it can be asked for; not for `anthropic-version`.", can)),
            at_times("architecture", text("")),
            at_times("parameters", count("")),
            at_times("quantization", text("")),
            at_times("context_length", count("Positions of prompt and answer together.")),
        ],
    );
    vec![("Model", model)]
}
