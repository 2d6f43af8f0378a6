//! Anthropic's messages.

use super::form::{
    Form, Member, any_object, asked, at_times, closed, count, either, list, list_of, map, maybe, must, named,
    nothing_of, null, open, or_null, text, text_of, told, whole, word,
};
use super::generation::{model, stops, stream, temperature, top_k, top_p};
use super::operation::{Operation, Tag};
use super::shared::receipt;
use crate::http::anthropic::{VERSION_HEADER, VERSIONS};
use crate::limits::{MESSAGES_MAX, TOKENS_MAX, USER_BYTES_MAX};

/// `POST /v1/messages`.
pub(in crate::http) fn messages() -> Operation {
    let metadata = asked("", [maybe("user_id", text_of("Means nothing here.", 0..=USER_BYTES_MAX))]);
    let mut members = conversation();
    members.extend([
        must("max_tokens", whole("Tokens of the answer at most.", 1..=TOKENS_MAX.into())),
        temperature(),
        top_k(),
        top_p(),
        stops("stop_sequences"),
        stream(),
        maybe("metadata", metadata),
        maybe("service_tier", word("", &["auto", "standard_only"])),
        maybe("speed", word("", &["standard"])),
    ]);
    Operation::new("createMessage", Tag::Anthropic, "Goes on with a conversation.")
        .hears(VERSION_HEADER, word("", &VERSIONS))
        .takes(closed("A conversation to go on with.", members))
        .computes()
        .answers(answer())
        .answers_events(event())
}

/// `POST /v1/messages/count_tokens`.
pub(in crate::http) fn count_tokens() -> Operation {
    Operation::new("countMessageTokens", Tag::Anthropic, "Counts a conversation's tokens; no model is loaded for it.")
        .hears(VERSION_HEADER, word("", &VERSIONS))
        .takes(closed("A conversation.", conversation()))
        .of_a_model()
        .answers(told("", [must("input_tokens", count(""))]))
}

/// What both read.
fn conversation() -> Vec<Member> {
    let content = || either("", [text(""), list("", named("AnthropicBlock"))]);
    let message = asked("", [must("role", word("", &["system", "user", "assistant"])), must("content", content())]);
    // Whatever else stands in what is switched off, it stays off.
    let off = |kind: &str| -> Form { open("Not supported.", vec![must("type", word("", &[kind]))]) };
    vec![
        model(),
        maybe("system", content()),
        must("messages", list_of("The last is not the assistant's.", message, 1..=MESSAGES_MAX)),
        maybe("tools", nothing_of("Not supported.")),
        maybe("tool_choice", off("none")),
        maybe("thinking", off("disabled")),
        maybe("output_config", map("Not supported.", null(), None)),
        maybe("cache_control", any_object("What is alike is found again without it.")),
    ]
}

fn used() -> Form {
    told(
        "Token counts.",
        [
            must("input_tokens", count("Those that were computed.")),
            must("cache_creation_input_tokens", count("")),
            must("cache_read_input_tokens", count("Those that were found computed.")),
            must("output_tokens", count("Generated.")),
        ],
    )
}

fn message() -> Vec<Member> {
    let block = told("", [must("type", word("", &["text"])), must("text", text(""))]);
    vec![
        must("id", text("The receipt is found by it.")),
        must("type", word("", &["message"])),
        must("role", word("", &["assistant"])),
        must("model", text("As the request names it.")),
        must("content", list("", block)),
        or_null("stop_reason", word("", &["end_turn", "max_tokens", "stop_sequence"])),
        or_null("stop_sequence", text("The text that ended it.")),
        must("usage", used()),
    ]
}

fn answer() -> Form {
    let mut members = message();
    members.push(receipt());
    open("A whole answer.", members)
}

fn event() -> Form {
    let kinds = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ];
    let block = told("", [must("type", word("", &["text"])), must("text", text(""))]);
    let delta = told(
        "",
        [
            at_times("type", word("", &["text_delta"])),
            at_times("text", text("")),
            maybe("stop_reason", text("")),
            maybe("stop_sequence", text("")),
        ],
    );
    let form = vec![
        must("type", word("", &kinds)),
        at_times("message", open("A message that has come to no end.", message())),
        at_times("index", count("Which block.")),
        at_times("content_block", block),
        at_times("delta", delta),
        at_times("usage", used()),
        at_times("dayfly", named("Receipt")),
    ];
    open("An event, with what it is about.", form)
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    let block = asked(
        "A block of text.",
        [
            must("type", word("", &["text"])),
            must("text", text("")),
            maybe("cache_control", any_object("What is alike is found again without it.")),
            maybe("citations", nothing_of("Not supported.")),
        ],
    );
    vec![("AnthropicBlock", block)]
}
