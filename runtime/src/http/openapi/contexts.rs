//! Published contexts.

use axum::http::StatusCode;

use super::form::{
    Form, at_times, bounded_like, closed, count, list, list_of, maybe, must, named, text, text_of, told, without_both,
    word,
};
use super::generation::{keep_alive, model, urgency};
use super::operation::{Operation, Tag};
use crate::limits::{CONTEXT_NAME_CHARS_MAX, MESSAGES_MAX};

/// `GET /v1/contexts`.
pub(in crate::http) fn all() -> Operation {
    let form = told("", [must("object", word("", &["list"])), must("data", list("", named("Context")))]);
    Operation::new("listContexts", Tag::Contexts, "Lists the contexts of models that are open to the key.")
        .answers(form)
}

/// `POST /v1/contexts`.
pub(in crate::http) fn publish() -> Operation {
    let about = "What it is to be called: letters, digits, `-`, `_` and `.`, not beginning with `.` or as ids do.";
    let mut members = vec![
        model(),
        must("name", bounded_like(about, "^(?!ctx_)[A-Za-z0-9_-][A-Za-z0-9_.-]*$", CONTEXT_NAME_CHARS_MAX)),
        maybe("text", text_of("What prompts begin with; not beside `messages`.", 1..=usize::MAX)),
        maybe("messages", list_of("What conversations begin with.", named("ChatMessage"), 1..=MESSAGES_MAX)),
        keep_alive(),
    ];
    members.extend(urgency());
    Operation::new("publishContext", Tag::Contexts, "Computes a context once, for all who begin with it.")
        .takes(without_both(
            ["text", "messages"],
            closed("Without text and messages the one of this name is computed anew.", members),
        ))
        .answers(named("Context"))
        .computes()
        .fails(&[StatusCode::INSUFFICIENT_STORAGE])
}

/// `GET /v1/contexts/{name}`.
pub(in crate::http) fn one() -> Operation {
    named_one("getContext", "Tells of one context.").answers(named("Context"))
}

/// `DELETE /v1/contexts/{name}`.
pub(in crate::http) fn delete() -> Operation {
    let form = told(
        "",
        [must("id", text("")), must("object", word("", &["context.deleted"])), must("deleted", super::form::flag(""))],
    );
    named_one("deleteContext", "Deletes a context; sequences that run keep what they hold of it.")
        .answers(form)
        .fails(&[StatusCode::SERVICE_UNAVAILABLE])
}

fn named_one(id: &'static str, summary: &'static str) -> Operation {
    Operation::new(id, Tag::Contexts, summary)
        .at("name", text("Its id, or its name where contexts of one model alone have that."))
        .fails(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT])
}

pub(super) fn components() -> Vec<(&'static str, Form)> {
    let context = told(
        "A published context.",
        [
            must("id", text("")),
            must("object", word("", &["context"])),
            must("name", text("")),
            must("model", text("")),
            must("publisher", text("The tenant that published it.")),
            must("created", count("In seconds since 1970.")),
            must("state", text("Whether it serves: `ready`, or why not.")),
            must("tokens", count("")),
            must("blocks", count("Of keys and values.")),
            must("cached_tokens", count("Those that are computed ahead.")),
            must("bytes", count("Of its file.")),
            at_times("dayfly", named("Receipt")),
        ],
    );
    vec![("Context", context)]
}
