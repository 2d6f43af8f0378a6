//! OpenAI's responses.

use models::limits::TOP_LOGPROBS_MAX;

use super::form::{
    Form, Member, always, anything, asked, at_times, closed, count, either, flag, list, list_of, map, maybe, must,
    named, nothing_of, null, number, open, or_null, text, text_of, told, whole, word,
};
use super::generation::{
    keep_alive, max_tokens, model, most, names_of_users, stream, temperature, top_logprobs, top_p, urgency,
};
use super::operation::{Operation, Tag};
use crate::limits::{INCLUDED_MAX, MESSAGES_MAX, METADATA_MAX, USER_BYTES_MAX};

/// How far a response is.
const STATES: [&str; 4] = ["in_progress", "completed", "incomplete", "failed"];

/// `POST /v1/responses`.
pub(in crate::http) fn responses() -> Operation {
    let included = word("", &["message.output_text.logprobs", "reasoning.encrypted_content"]);
    let mut members = vec![
        model(),
        maybe("instructions", text("What stands first.")),
        must("input", input()),
        temperature(),
        top_p(),
        max_tokens("max_output_tokens", 1),
        top_logprobs("top_logprobs", "Alternatives for each token."),
        maybe("include", list_of("What the answer is to have beside its text.", included, 0..=INCLUDED_MAX)),
        stream(),
        maybe("stream_options", asked("", [maybe("include_obfuscation", always("Nothing is padded.", false))])),
        keep_alive(),
        maybe("metadata", map("Told again.", text_of("", 0..=USER_BYTES_MAX), Some(METADATA_MAX))),
    ];
    members.extend(urgency());
    members.extend(names_of_users());
    members.extend(unsupported());
    Operation::new("createResponse", Tag::OpenAi, "Answers an input.")
        .takes(closed("Something to answer.", members))
        .computes()
        .answers(named("Response"))
        .answers_events(event())
}

/// What there is not, in the forms that ask for nothing.
fn unsupported() -> [Member; 10] {
    let format = asked("", [maybe("type", word("", &["text"]))]);
    let nothing = || asked("", [maybe("effort", null()), maybe("summary", null())]);
    [
        maybe("tools", nothing_of("Not supported.")),
        maybe("tool_choice", word("", &["none", "auto"])),
        maybe("parallel_tool_calls", flag("Means nothing here.")),
        maybe("max_tool_calls", whole("", 0..=0)),
        maybe("store", always("Nothing is stored.", false)),
        maybe("background", always("Not supported.", false)),
        maybe("truncation", word("Nothing is cut to fit.", &["disabled"])),
        maybe("reasoning", nothing()),
        maybe("text", asked("", [maybe("format", format), maybe("verbosity", word("", &["medium"]))])),
        maybe("previous_response_id", null()),
    ]
}

fn input() -> Form {
    let part = asked(
        "A part of text.",
        [
            must("type", word("", &["input_text", "output_text"])),
            must("text", text("")),
            maybe("annotations", nothing_of("")),
            at_times("logprobs", anything("An answer's own, sent back.")),
        ],
    );
    let item = asked(
        "A message.",
        [
            maybe("type", word("", &["message"])),
            must("role", word("", &["system", "developer", "user", "assistant"])),
            must("content", either("", [text(""), list_of("", part, 1..=usize::MAX)])),
            maybe("id", text("")),
            maybe("status", text("")),
            maybe("phase", text("")),
        ],
    );
    either("What is to be answered.", [text(""), list_of("", item, 1..=MESSAGES_MAX)])
}

fn event() -> Form {
    let form = vec![
        must("type", text("Which event it is: `response.created`, `response.output_text.delta`, …")),
        must("sequence_number", count("")),
        at_times("response", named("Response")),
        at_times("item", named("ResponseMessage")),
        at_times("part", named("ResponsePart")),
        at_times("delta", text("")),
        at_times("text", text("")),
        at_times("logprobs", list("", named("TokenScore"))),
        at_times("output_index", count("")),
        at_times("content_index", count("")),
        at_times("item_id", text("")),
    ];
    open("An event, with what it is about.", form)
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    vec![("Response", response()), ("ResponseMessage", message()), ("ResponsePart", part())]
}

fn response() -> Form {
    let mut members = vec![
        must("id", text("The receipt is found by it.")),
        must("object", word("", &["response"])),
        must("created_at", count("When the request came, in seconds since 1970.")),
        must("status", word("", &STATES)),
        must("background", always("", false)),
        or_null("error", told("", [must("code", text("")), must("message", text(""))])),
        or_null("incomplete_details", told("", [must("reason", word("", &["max_output_tokens"]))])),
        or_null("instructions", text("")),
        or_null("max_output_tokens", count("")),
        must("model", text("As the request names it.")),
        must("output", list("One message of one text.", named("ResponseMessage"))),
        must("parallel_tool_calls", flag("")),
        must("previous_response_id", null()),
        must("reasoning", told("", [must("effort", null()), must("summary", null())])),
        must("service_tier", word("", &["default", "flex", "priority"])),
        must("store", always("", false)),
    ];
    members.extend([
        must("temperature", number("")),
        must("text", told("", [must("format", told("", [must("type", word("", &["text"]))]))])),
        must("tool_choice", word("", &["auto"])),
        must("tools", nothing_of("")),
        must("top_logprobs", whole("", 0..=most(TOP_LOGPROBS_MAX))),
        must("top_p", number("")),
        must("truncation", word("", &["disabled"])),
        or_null("usage", usage()),
        or_null("user", text("")),
        must("metadata", map("", text(""), None)),
        at_times("dayfly", named("Receipt")),
    ]);
    open("A response.", members)
}

fn part() -> Form {
    told(
        "A text.",
        [
            must("type", word("", &["output_text"])),
            must("text", text("")),
            must("annotations", nothing_of("")),
            must("logprobs", list("Where they are asked for.", named("TokenScore"))),
        ],
    )
}

fn message() -> Form {
    told(
        "A message.",
        [
            must("id", text("")),
            must("type", word("", &["message"])),
            must("status", word("", &STATES)),
            must("role", word("", &["assistant"])),
            must("content", list("", named("ResponsePart"))),
        ],
    )
}

fn usage() -> Form {
    let input = told("", [must("cached_tokens", count("")), must("cache_write_tokens", count(""))]);
    told(
        "",
        [
            must("input_tokens", count("")),
            must("input_tokens_details", input),
            must("output_tokens", count("")),
            must("output_tokens_details", told("", [must("reasoning_tokens", count(""))])),
            must("total_tokens", count("")),
        ],
    )
}
