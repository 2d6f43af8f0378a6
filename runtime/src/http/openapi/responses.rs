//! OpenAI's responses.

use models::limits::TOP_LOGPROBS_MAX;

use super::form::{
    Form, Member, always, any_object, anything, asked, at_times, closed, count, either, flag, list, list_of, map,
    maybe, must, named, nothing_of, null, number, open, or_null, text, text_of, told, whole, word,
};
use super::generation::{
    caller, empty, function, keep_alive, max_tokens, model, most, names_of_users, schema, stream, tool_name,
    top_logprobs, unheard_of_tools, urgency,
};
use super::operation::{Operation, Tag};
use super::sampling::{temperature, top_p};
use crate::http::wire::EFFORTS;
use crate::limits::{INCLUDED_MAX, MESSAGES_MAX, METADATA_MAX, TOOL_CALLS_MAX, TOOLS_MAX, USER_BYTES_MAX};

/// How far a response is.
const STATES: [&str; 4] = ["in_progress", "completed", "incomplete", "failed"];

/// `POST /v1/responses`.
pub(in crate::http) fn responses() -> Operation {
    Operation::new("createResponse", Tag::OpenAi, "Answers an input.")
        .takes(request())
        .computes()
        .answers(named("Response"))
        .answers_events(event())
}

/// `POST /v1/responses/input_tokens`.
pub(in crate::http) fn input_tokens() -> Operation {
    Operation::new("countResponseTokens", Tag::OpenAi, "Counts an input's tokens; no model is loaded for it.")
        .takes(request())
        .of_a_model()
        .answers(told("", [must("object", word("", &["response.input_tokens"])), must("input_tokens", count(""))]))
}

fn request() -> Form {
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
        maybe("ignore_eos", flag("Whether the token that ends a text is no end.")),
        maybe("metadata", map("Told again.", text_of("", 0..=USER_BYTES_MAX), Some(METADATA_MAX))),
    ];
    members.extend(urgency());
    members.extend(names_of_users());
    members.extend(options());
    closed("Something to answer.", members)
}

/// What there is not, in the forms that ask for nothing; functions, reasoning, and what the answer keeps to.
fn options() -> [Member; 11] {
    let one = asked("This one.", [must("type", word("", &["function"])), must("name", text("One of `tools`."))]);
    let choice =
        either("For requests with `tools`, but for `none` and `auto`.", [word("", &["none", "auto", "required"]), one]);
    let namespace = asked(
        "Functions that are called by its name and theirs.",
        [
            must("type", word("", &["namespace"])),
            must("name", tool_name()),
            must("description", text("Stands before what is said of each.")),
            must("tools", list_of("", tool(), 0..=TOOLS_MAX)),
        ],
    );
    let summary = || word("Thoughts are told in full.", &["auto", "detailed"]);
    let effort = "How long the model is to think, where its template knows that.";
    let reasoning = [
        maybe("effort", word(effort, &EFFORTS)),
        maybe("summary", summary()),
        maybe("generate_summary", summary()),
        maybe("context", word("", &["auto"])),
    ];
    [
        maybe("tools", list_of("Functions that may be called.", either("", [tool(), namespace]), 0..=TOOLS_MAX)),
        maybe("tool_choice", choice),
        maybe("parallel_tool_calls", flag("Whether an answer may have several calls.")),
        maybe("max_tool_calls", whole("Of tools that are the service's own: there are none.", 0..=u32::MAX.into())),
        maybe("store", always("Nothing is stored.", false)),
        maybe("background", always("Not supported.", false)),
        maybe("truncation", word("Nothing is cut to fit.", &["disabled"])),
        maybe("reasoning", asked("", reasoning)),
        maybe("client_metadata", any_object("Means nothing here.")),
        maybe("text", asked("", [maybe("format", format()), maybe("verbosity", word("", &["medium"]))])),
        maybe("previous_response_id", null()),
    ]
}

fn tool() -> Form {
    let mut tool = function(maybe("parameters", any_object("A JSON schema of its arguments.")));
    tool.push(must("type", word("", &["function"])));
    tool.extend(unheard_of_tools());
    closed("", tool)
}

fn format() -> Form {
    let held = asked(
        "What a schema says.",
        [
            must("type", word("", &["json_schema"])),
            must("name", text("")),
            maybe("description", text("")),
            maybe("strict", flag("Every schema is kept to.")),
            must("schema", schema()),
        ],
    );
    either("What the answer keeps to.", [asked("", [must("type", word("", &["text", "json_object"]))]), held])
}

fn input() -> Form {
    let of_answer = || vec![maybe("id", text("")), maybe("status", text(""))];
    let item = |members: Vec<Member>| {
        let mut all = of_answer();
        all.extend(members);
        closed("", all)
    };
    let texts = || either("", [text(""), list_of("", named("ResponseInputPart"), 1..=usize::MAX)]);
    let thoughts = |kind: &str| {
        list_of("", asked("", [must("type", word("", &[kind])), must("text", text(""))]), 0..=MESSAGES_MAX)
    };
    let items = [
        item(vec![
            maybe("type", word("", &["message"])),
            must("role", word("", &["system", "developer", "user", "assistant"])),
            must("content", texts()),
            maybe("phase", text("")),
        ]),
        item(vec![
            must("type", word("", &["reasoning"])),
            maybe("summary", thoughts("summary_text")),
            maybe("content", thoughts("reasoning_text")),
        ]),
        item(vec![
            must("type", word("", &["function_call"])),
            must("call_id", text("")),
            must("name", text("")),
            maybe("namespace", text("")),
            must("arguments", text("JSON, as a text.")),
            caller(),
        ]),
        item(vec![
            must("type", word("", &["function_call_output"])),
            must("call_id", text("")),
            maybe("name", text("")),
            maybe("namespace", text("")),
            must("output", texts()),
            caller(),
        ]),
    ];
    either(
        &format!("What is to be answered; {TOOL_CALLS_MAX} calls in a row at most."),
        [text(""), list_of("", either("", items), 1..=MESSAGES_MAX)],
    )
}

fn event() -> Form {
    let form = vec![
        must("type", text("Which event it is: `response.created`, `response.output_text.delta`, …")),
        must("sequence_number", count("")),
        at_times("response", named("Response")),
        at_times("item", named("ResponseItem")),
        at_times("part", named("ResponsePart")),
        at_times("delta", text("")),
        at_times("name", text("")),
        at_times("arguments", text("")),
        at_times("text", text("")),
        at_times("logprobs", list("", named("TokenScore"))),
        at_times("output_index", count("")),
        at_times("content_index", count("")),
        at_times("item_id", text("")),
    ];
    open("An event, with what it is about.", form)
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    vec![
        ("Response", response()),
        ("ResponseItem", item()),
        ("ResponseInputPart", input_part()),
        ("ResponsePart", part()),
    ]
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
        must("output", list("What was thought, said and called.", named("ResponseItem"))),
        must("parallel_tool_calls", flag("")),
        must("previous_response_id", null()),
        must("reasoning", told("", [or_null("effort", text("")), must("summary", null())])),
        must("service_tier", word("", &["default", "flex", "priority"])),
        must("store", always("", false)),
    ];
    members.extend([
        must("temperature", number("")),
        must("text", told("", [must("format", any_object("As asked."))])),
        must("tool_choice", either("", [text(""), any_object("")])),
        must("tools", list("As asked.", any_object(""))),
        must("top_logprobs", whole("", 0..=most(TOP_LOGPROBS_MAX))),
        must("top_p", number("")),
        must("truncation", word("", &["disabled"])),
        or_null("usage", usage()),
        or_null("user", text("")),
        or_null("safety_identifier", text("")),
        or_null("prompt_cache_key", text("")),
        or_null("completed_at", count("When it was, if it is; in seconds since 1970.")),
        must("max_tool_calls", null()),
        must("presence_penalty", number("")),
        must("frequency_penalty", number("")),
        must("metadata", map("", text(""), None)),
        at_times("dayfly", named("Receipt")),
    ]);
    open("A response.", members)
}

fn input_part() -> Form {
    asked(
        "A part of text.",
        [
            must("type", word("", &["input_text", "output_text"])),
            must("text", text("")),
            maybe("annotations", empty()),
            at_times("logprobs", anything("An answer's own, sent back.")),
        ],
    )
}

fn part() -> Form {
    let said = told(
        "",
        [
            must("type", word("", &["output_text"])),
            must("text", text("")),
            must("annotations", nothing_of("")),
            must("logprobs", list("Where they are asked for.", named("TokenScore"))),
        ],
    );
    either("A text.", [said, told("", [must("type", word("", &["reasoning_text"])), must("text", text(""))])])
}

/// What was thought, said or called.
fn item() -> Form {
    let of = |kind: &str, members: Vec<Member>| {
        let mut all = vec![must("id", text("")), must("type", word("", &[kind])), must("status", word("", &STATES))];
        all.extend(members);
        open("", all)
    };
    let parts = || must("content", list("", named("ResponsePart")));
    let mut call: Vec<Member> = ["call_id", "name", "arguments"].map(|name| must(name, text(""))).into();
    call.push(at_times("namespace", text("")));
    either(
        "An item of the output.",
        [
            of("reasoning", vec![must("summary", nothing_of("")), parts()]),
            of("message", vec![must("role", word("", &["assistant"])), parts()]),
            of("function_call", call),
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
