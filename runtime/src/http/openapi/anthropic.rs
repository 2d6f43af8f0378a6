//! Anthropic's messages.

use super::form::{
    Form, Member, any_object, asked, at_times, closed, count, either, flag, list, list_of, maybe, must, named, open,
    or_null, text, text_of, told, whole, word,
};
use super::generation::{caller, empty, function, model, schema, stops, stream, unheard_of_tools};
use super::operation::{Operation, Tag};
use super::sampling::{temperature, top_k, top_p};
use super::shared::receipt;
use crate::http::anthropic::{BUDGET_TOKENS_MIN, VERSION_HEADER, VERSIONS};
use crate::http::wire::EFFORTS;
use crate::limits::{CONTEXT_EDITS_MAX, MESSAGES_MAX, TOKENS_MAX, TOOLS_MAX, USER_BYTES_MAX};

/// Why an answer ended.
const STOP_REASONS: [&str; 5] =
    ["end_turn", "max_tokens", "model_context_window_exceeded", "stop_sequence", "tool_use"];

/// `POST /v1/messages`.
pub(in crate::http) fn messages() -> Operation {
    let metadata = asked("", [maybe("user_id", text_of("Means nothing here.", 0..=USER_BYTES_MAX))]);
    let mut members = conversation();
    members.extend([
        must(
            "max_tokens",
            whole("Tokens of the answer at most; it ends where the context does.", 1..=TOKENS_MAX.into()),
        ),
        temperature(),
        top_k(),
        top_p(),
        stops("stop_sequences"),
        stream(),
        maybe("metadata", metadata),
        maybe("service_tier", word("", &["auto", "standard_only"])),
        maybe("speed", word("", &["standard"])),
        maybe("mcp_servers", empty()),
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
    let message = |role: &[&str], block: &str| {
        asked("", [must("role", word("", role)), must("content", either("", [text(""), list("", named(block))]))])
    };
    let messages = either(
        "",
        [
            message(&["system"], "AnthropicBlock"),
            message(&["user"], "AnthropicUserBlock"),
            message(&["assistant"], "AnthropicAssistantBlock"),
        ],
    );
    let mut members = vec![
        model(),
        maybe("system", either("", [text(""), list("", named("AnthropicBlock"))])),
        must(
            "messages",
            list_of("Where the last is the assistant's, the answer goes on with it.", messages, 1..=MESSAGES_MAX),
        ),
    ];
    members.extend(options());
    members
}

/// Tools, thinking, and what the answer keeps to.
fn options() -> Vec<Member> {
    let parallel = || maybe("disable_parallel_tool_use", flag("Whether one at most may be used."));
    let choice = either(
        "Whether a tool is to be used.",
        [
            asked("", [must("type", word("", &["auto", "any", "none"])), parallel()]),
            asked("", [must("type", word("", &["tool"])), must("name", text("One of `tools`.")), parallel()]),
        ],
    );
    let display = || maybe("display", word("Whether thoughts are shown.", &["summarized", "omitted"]));
    let budget = whole("Less than `max_tokens`; a target, and no bound.", BUDGET_TOKENS_MIN..=TOKENS_MAX.into());
    let thinking = either(
        "Whether the model is to think.",
        [
            asked("", [must("type", word("", &["disabled", "adaptive"])), display()]),
            asked("", [must("type", word("", &["enabled"])), must("budget_tokens", budget), display()]),
        ],
    );
    let format =
        || asked("What the answer keeps to.", [must("type", word("", &["json_schema"])), must("schema", schema())]);
    let output = asked("", [maybe("effort", word("How much it is to think.", &EFFORTS)), maybe("format", format())]);
    vec![
        maybe("tools", list_of("Tools of the client's own.", tool(), 0..=TOOLS_MAX)),
        maybe("tool_choice", choice),
        maybe("thinking", thinking),
        maybe("output_config", output),
        maybe("output_format", format()),
        maybe("cache_control", any_object("What is alike is found again without it.")),
        maybe("context_management", kept_as_it_is()),
    ]
}

/// Changes to the conversation, as far as nothing of it changes.
fn kept_as_it_is() -> Form {
    let all = || word("", &["all"]);
    let keep = either("Thoughts that are sent are kept.", [all(), asked("", [must("type", all())])]);
    let edit = asked("", [must("type", word("", &["clear_thinking_20251015"])), must("keep", keep)]);
    asked("Nothing is cleared.", [maybe("edits", list_of("", edit, 0..=CONTEXT_EDITS_MAX))])
}

fn tool() -> Form {
    let mut members = function(must("input_schema", any_object("A JSON schema of its input.")));
    members.extend([
        maybe("type", word("", &["custom"])),
        maybe("cache_control", any_object("What is alike is found again without it.")),
        maybe("eager_input_streaming", flag("A use comes whole in any case.")),
        maybe("input_examples", empty()),
    ]);
    members.extend(unheard_of_tools());
    closed("A tool that may be used.", members)
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

/// A block of an answer.
fn block() -> Form {
    either(
        "",
        [
            told("", [must("type", word("", &["text"])), must("text", text(""))]),
            told("", [must("type", word("", &["thinking"])), must("thinking", text("")), must("signature", text(""))]),
            told(
                "",
                [
                    must("type", word("", &["tool_use"])),
                    must("id", text("")),
                    must("name", text("")),
                    must("input", any_object("")),
                ],
            ),
        ],
    )
}

fn message() -> Vec<Member> {
    vec![
        must("id", text("The receipt is found by it.")),
        must("type", word("", &["message"])),
        must("role", word("", &["assistant"])),
        must("model", text("As the request names it.")),
        must("content", list("", block())),
        or_null("stop_reason", word("", &STOP_REASONS)),
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
    let delta = told(
        "",
        [
            at_times("type", word("", &["text_delta", "thinking_delta", "signature_delta", "input_json_delta"])),
            at_times("text", text("")),
            at_times("thinking", text("")),
            at_times("signature", text("")),
            at_times("partial_json", text("")),
            maybe("stop_reason", text("")),
            maybe("stop_sequence", text("")),
        ],
    );
    let form = vec![
        must("type", word("", &kinds)),
        at_times("message", open("A message that has come to no end.", message())),
        at_times("index", count("Which block.")),
        at_times("content_block", block()),
        at_times("delta", delta),
        at_times("usage", used()),
        at_times("dayfly", named("Receipt")),
    ];
    open("An event, with what it is about.", form)
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    let cached = || maybe("cache_control", any_object("What is alike is found again without it."));
    let said = || {
        asked(
            "A text.",
            [must("type", word("", &["text"])), must("text", text("")), cached(), maybe("citations", empty())],
        )
    };
    let thought = asked(
        "What the assistant thought.",
        [must("type", word("", &["thinking"])), must("thinking", text("")), maybe("signature", text("")), cached()],
    );
    let used = asked(
        "A tool that the assistant used.",
        [
            must("type", word("", &["tool_use"])),
            must("id", text("")),
            must("name", text("")),
            must("input", any_object("")),
            caller(),
            cached(),
        ],
    );
    let result = asked(
        "What a tool gave.",
        [
            must("type", word("", &["tool_result"])),
            must("tool_use_id", text("")),
            maybe("content", either("", [text(""), list("", named("AnthropicBlock"))])),
            maybe("is_error", flag("")),
            cached(),
        ],
    );
    vec![
        ("AnthropicBlock", said()),
        ("AnthropicUserBlock", either("", [said(), result])),
        ("AnthropicAssistantBlock", either("", [said(), thought, used])),
    ]
}
