//! Requests to generate: the members that several interfaces share, with the limits of those who read them.

use models::limits::{CHOICES_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX, STOP_TOKENS_MAX, TOP_LOGPROBS_MAX};

use super::form::{
    Form, Member, always, any_object, asked, either, flag, list_of, maybe, must, named, nothing_of, number_in,
    object_of_any, of_at_most, text, text_like, text_of, whole, with_one_of, word,
};
use super::restated;
use super::sampling::sampling;
use crate::http::wire::generation::CLIENT_NAMES;
use crate::limits::{
    KEEP_ALIVE_MAX, MESSAGES_MAX, REQUEST_MAX, TOKENS_MAX, TOOL_CALLS_MAX, TOOL_NAME_CHARS_MAX, TOOLS_MAX,
    USER_BYTES_MAX,
};

/// As many as a 64-bit machine's limit holds.
pub(super) fn most(limit: usize) -> i64 {
    i64::try_from(limit).expect("limits are small")
}

/// The model's name. One that is longer than any is the name of none: 404.
pub(super) fn model() -> Member {
    must("model", text_of("The model, by its name or another name for it.", 1..=usize::MAX))
}

pub(super) fn keep_alive() -> Member {
    maybe("keep_alive", named("KeepAlive"))
}

pub(super) fn stream() -> Member {
    maybe("stream", flag("Whether the answer comes as it is made."))
}

pub(super) fn max_tokens(name: &'static str, least: i64) -> Member {
    maybe(
        name,
        whole("Tokens of an answer at most; what is left of the context without it.", least..=TOKENS_MAX.into()),
    )
}

/// Up to how many alternatives are shown for each token.
pub(super) fn top_logprobs(name: &'static str, about: &str) -> Member {
    maybe(name, whole(about, 0..=most(TOP_LOGPROBS_MAX)))
}

pub(super) fn stops(name: &'static str) -> Member {
    let one = || text_of("", 1..=STOP_STRING_BYTES_MAX);
    let several = list_of("", one(), 0..=STOP_STRINGS_MAX);
    maybe(name, either("Texts that end an answer, of so many bytes each.", [one(), several]))
}

/// `timeout` and `service_tier`.
pub(super) fn urgency() -> [Member; 2] {
    let timeout = "Seconds from the request's arrival to the end of its answer.";
    let tier = "`flex` can wait, `priority` goes first where the operator lets the tenant.";
    [
        maybe("timeout", number_in(timeout, 1e-9..=REQUEST_MAX.as_secs_f64())),
        maybe("service_tier", word(tier, &["auto", "default", "flex", "priority"])),
    ]
}

/// Who asks, by names that mean nothing here.
pub(super) fn names_of_users() -> [Member; 4] {
    CLIENT_NAMES.map(|name| maybe(name, text_of("Means nothing here.", 0..=USER_BYTES_MAX)))
}

/// What changes no answer.
pub(super) fn harmless() -> Vec<Member> {
    let mut members: Vec<Member> = names_of_users().into();
    members.push(maybe("metadata", any_object("Means nothing here.")));
    members.push(maybe("store", always("Nothing is stored.", false)));
    members
}

/// What an answer has to keep to: one of these at most.
fn constraints() -> Vec<Member> {
    let choice = || list_of("One of these texts.", text_of("", 1..=usize::MAX), 1..=usize::MAX);
    vec![
        maybe("response_format", named("ResponseFormat")),
        maybe(
            "grammar",
            text("A grammar in GBNF, where it begins as that does (`name ::= …`), or in llguidance's dialect of Lark."),
        ),
        maybe("regex", text("A regular expression of Rust's `regex`, for all of the answer.")),
        maybe(
            "structured_outputs",
            with_one_of(
                &["json", "regex", "choice"],
                asked(
                    "vLLM's name for them: one of these.",
                    [maybe("json", schema()), maybe("regex", text("")), maybe("choice", choice())],
                ),
            ),
        ),
        maybe("json_schema", schema()),
        maybe("guided_json", schema()),
        maybe("guided_regex", text("As `regex`.")),
        maybe("guided_choice", choice()),
    ]
}

/// A schema to keep to.
pub(super) fn schema() -> Form {
    either("A JSON schema; as a text that holds it, too.", [any_object(""), text("")])
}

/// What chats and completions share.
pub(super) fn common() -> Vec<Member> {
    let options = asked(
        "For `stream: true` alone.",
        [
            maybe("include_usage", flag("Whether the stream ends with its usage.")),
            maybe("include_progress", flag("Whether comments tell what it waits for.")),
            maybe("include_obfuscation", always("Nothing is padded.", false)),
            maybe("continuous_usage_stats", flag("Whether every chunk has the usage so far, with `include_usage`.")),
        ],
    );
    let mut members = vec![
        model(),
        maybe("n", whole("Answers for each prompt.", 1..=most(CHOICES_MAX))),
        stops("stop"),
        maybe("ignore_eos", flag("Whether the token that ends a text is no end.")),
        maybe("min_tokens", whole("Tokens before which nothing but its bound ends an answer.", 0..=TOKENS_MAX.into())),
        maybe(
            "stop_token_ids",
            list_of("Tokens that end an answer.", whole("", 0..=u32::MAX.into()), 0..=STOP_TOKENS_MAX),
        ),
        maybe("include_stop_str_in_output", flag("Whether what ends an answer is a part of its text.")),
        maybe("skip_special_tokens", flag("Whether the names of control tokens are left out; they are unless told.")),
        maybe("return_tokens_as_token_ids", flag("Whether tokens with log-probabilities are called by their ids.")),
        stream(),
        maybe("stream_options", options),
        keep_alive(),
        maybe("context", text("The published context that stands before the prompt, by its id or name.")),
        maybe(
            "cache",
            flag("Whether an earlier answer to the very same may be given; for what draws nothing at random."),
        ),
    ];
    members.extend(sampling());
    members.extend(constraints());
    members.extend(urgency());
    members.extend(harmless());
    members.extend(restated::members());
    members
}

/// What a chat has beside its messages.
pub(super) fn options() -> Vec<Member> {
    let mut members = template_options();
    let always_so = ["include_reasoning", "separate_reasoning", "stream_reasoning", "parse_tool_calls"];
    members.extend(always_so.map(|name| maybe(name, always("What is done anyway.", true))));
    members.extend([
        maybe("reasoning_format", word("Thoughts come apart from what is said.", &["auto", "deepseek"])),
        maybe("verbosity", word("What is done anyway.", &["medium"])),
        maybe("echo", always("Not supported.", false)),
        maybe("documents", empty()),
        maybe("functions", empty()),
        maybe("function_call", word("OpenAI's older name for `tool_choice`.", &["none"])),
        maybe("modalities", list_of("", word("", &["text"]), 1..=1)),
    ]);
    members
}

/// What a chat's template is given beside the messages, and where the answer begins.
pub(super) fn template_options() -> Vec<Member> {
    let one = asked(
        "This one.",
        [must("type", word("", &["function"])), must("function", asked("", [must("name", text("One of `tools`."))]))],
    );
    let choice = either(
        "Whether a function is to be called; for requests with `tools`, but for `none`.",
        [word("", &["none", "auto", "required"]), one],
    );
    let effort = "How long the model is to think, where its template knows that.";
    vec![
        maybe("tools", list_of("Functions that may be called.", named("Tool"), 0..=TOOLS_MAX)),
        maybe("tool_choice", choice),
        maybe("parallel_tool_calls", flag("Whether an answer may have several calls.")),
        maybe("chat_template_kwargs", any_object("Values for the model's template, which has to know them.")),
        maybe("reasoning_effort", word(effort, &crate::http::wire::EFFORTS)),
        maybe("add_generation_prompt", flag("Whether the answer is a message of its own; it is unless told.")),
        maybe("continue_final_message", flag("Whether the answer goes on with the last message, the assistant's.")),
    ]
}

pub(super) fn messages() -> Form {
    list_of("The conversation so far.", named("ChatMessage"), 1..=MESSAGES_MAX)
}

/// What is defined once for all of them.
pub(super) fn components() -> Vec<(&'static str, Form)> {
    vec![
        ("JsonSchema", object_of_any("A JSON schema to keep to; one that says nothing is any JSON.")),
        ("KeepAlive", keep_alive_form()),
        ("ResponseFormat", response_format()),
        ("Tool", tool()),
        ("ToolCall", call()),
        ("Caller", asked("Who called: the model.", [maybe("type", word("", &["direct"]))])),
        ("JsonSchemaFormat", json_schema_format()),
        ("ContentPart", content_part()),
        ("ChatMessage", message()),
        ("Prompt", prompt("Texts to go on with.", (0, models::limits::PROMPTS_MAX))),
    ]
}

fn content_part() -> Form {
    let marked = maybe("cache_control", any_object("What is alike is found again without it."));
    asked("A part of text.", [must("type", word("", &["text"])), must("text", text("")), marked])
}

fn keep_alive_form() -> Form {
    let about = "How long the model stays after its last request: seconds, a duration such as `5m`, or `auto`; 0 lets it go \
                 with the answer, anything below zero keeps it.";
    let seconds = of_at_most(KEEP_ALIVE_MAX.as_secs_f64());
    either(about, [seconds, text_like("", "^(auto|[+-]?(0|([0-9]+(\\.[0-9]*)?(h|m|s|ms|us|µs|ns))+))$")])
}

fn response_format() -> Form {
    either(
        "What an answer has to keep to.",
        [
            asked("Text.", [must("type", word("", &["text"]))]),
            asked("A JSON object.", [must("type", word("", &["json_object"])), maybe("schema", schema())]),
            asked(
                "What a schema says.",
                [must("type", word("", &["json_schema"])), must("json_schema", named("JsonSchemaFormat"))],
            ),
        ],
    )
}

fn json_schema_format() -> Form {
    asked(
        "A schema, and what it is called.",
        [
            maybe("name", text("Means nothing here.")),
            maybe("description", text("Means nothing here.")),
            maybe("strict", flag("Every schema is kept to.")),
            must("schema", schema()),
        ],
    )
}

/// What there is not, in the forms that ask for nothing.
pub(super) fn empty() -> Form {
    either("Not supported.", [nothing_of(""), text_of("", 0..=0)])
}

/// A function, as those describe it who do not put it into an object of its own.
pub(super) fn function(schema: Member) -> Vec<Member> {
    vec![
        must("name", tool_name()),
        maybe("description", text("What it does, for the model.")),
        maybe("strict", flag("Whether arguments keep to their schema wherever the model calls.")),
        schema,
    ]
}

/// What only means something to services with tools of their own.
pub(super) fn unheard_of_tools() -> [Member; 2] {
    [
        maybe("defer_loading", always("Not supported.", false)),
        maybe("allowed_callers", list_of("", word("", &["direct"]), 1..=1)),
    ]
}

/// Whoever called was the model.
pub(super) fn caller() -> Member {
    maybe("caller", named("Caller"))
}

/// What a function is called.
pub(super) fn tool_name() -> Form {
    super::form::bounded_like("", "^[a-zA-Z0-9_.-]+$", TOOL_NAME_CHARS_MAX)
}

fn tool() -> Form {
    let function = asked(
        "",
        [
            must("name", tool_name()),
            maybe("description", text("What it does, for the model.")),
            maybe("parameters", any_object("A JSON schema of its arguments.")),
            maybe("strict", flag("Whether arguments keep to it wherever the model calls.")),
        ],
    );
    asked("A function that may be called.", [must("type", word("", &["function"])), must("function", function)])
}

fn call() -> Form {
    let function = asked("", [must("name", text("")), must("arguments", text("JSON, as a text."))]);
    asked(
        "A call that the model made.",
        [
            must("id", text("")),
            maybe("type", word("", &["function"])),
            maybe("index", whole("As streams have it.", 0..=u32::MAX.into())),
            must("function", function),
        ],
    )
}

fn message() -> Form {
    let content = || either("", [text(""), list_of("", named("ContentPart"), 1..=usize::MAX)]);
    let said = |roles: &[&str]| vec![must("role", word("", roles)), maybe("name", text("Who says it."))];
    let mut others = said(&["system", "developer", "user"]);
    others.push(must("content", content()));
    let mut answers = said(&["assistant"]);
    answers.extend([
        must("content", content()),
        maybe("reasoning_content", text("What it thought.")),
        maybe("tool_calls", list_of("", named("ToolCall"), 0..=TOOL_CALLS_MAX)),
        // What an answer of this server has, and is sent back.
        maybe("refusal", super::form::null()),
        maybe("annotations", nothing_of("Nothing was looked up.")),
    ]);
    let mut calls = said(&["assistant"]);
    calls.extend([
        maybe("content", content()),
        maybe("reasoning_content", text("What it thought.")),
        must("tool_calls", list_of("", named("ToolCall"), 1..=TOOL_CALLS_MAX)),
        maybe("refusal", super::form::null()),
        maybe("annotations", nothing_of("Nothing was looked up.")),
    ]);
    let mut results = said(&["tool"]);
    results.extend([must("content", content()), maybe("tool_call_id", text("Which call it answers."))]);
    either("A message.", [others, answers, calls, results].map(|members| super::form::closed("", members)))
}

/// A text, token ids, or several of either.
pub(super) fn prompt(about: &str, (chars_min, items_max): (usize, usize)) -> Form {
    let text = || text_of("", chars_min..=usize::MAX);
    let ids = || list_of("Token ids.", whole("", 0..=u32::MAX.into()), 1..=usize::MAX);
    let several = list_of("", either("", [text(), ids()]), 1..=items_max);
    either(about, [text(), ids(), several])
}
