//! What several routes answer: errors in each interface's words, receipts, token counts, log-probabilities.

use meter::Receipt;
use utoipa::ToSchema;
use utoipa::openapi::{ComponentsBuilder, RefOr, Schema};

use super::form::{
    ANY_OBJECT, Form, Member, count, either, list, maybe, must, named, number, object_of_any, open, or_null, text,
    told, whole, word,
};
use crate::http::error::ErrorKind;

/// Where a receipt stands.
pub(super) fn receipt() -> Member {
    must("dayfly", named("Receipt"))
}

/// Adds a type that is written as it is, and all that it is made of.
pub(super) fn with<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut parts: Vec<(String, RefOr<Schema>)> = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut parts);
    components.schemas_from_iter(parts)
}

pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    let own = [
        (ANY_OBJECT, object_of_any("Whatever there is.")),
        ("OpenAiError", openai_error()),
        ("OllamaError", told("An error.", [must("error", text("What is wrong."))])),
        ("AnthropicError", anthropic_error()),
        ("LlamaCppError", llama_cpp_error()),
        ("Usage", usage()),
        ("TokenScore", score()),
    ];
    with::<Receipt>(components).schemas_from_iter(own)
}

/// How a step was split, in place of what its type describes: the objects in it have names here, without which some generators of
/// clients lose the receipt.
pub(super) fn split_methods() -> [(&'static str, Form); 3] {
    let choices = [
        word("The step worked for one sequence alone.", &["whole_step"]),
        told("By the affine rule.", [must("affine", named("AffineSplit"))]),
        told("The same part to each sequence.", [must("equal", named("EqualSplit"))]),
    ];
    let error = number("By how much the fit was off lately, on average: 0.03 is 3 %.");
    [
        ("SplitMethod", either("How a step was split.", choices)),
        ("AffineSplit", told("By the affine rule.", [must("fit_error_ratio", error)])),
        ("EqualSplit", told("The same part to each sequence.", [must("reason", named("EqualReason"))])),
    ]
}

fn openai_error() -> Form {
    let kinds = [ErrorKind::InvalidRequest, ErrorKind::RateLimit, ErrorKind::ServiceUnavailable, ErrorKind::Server];
    let error = told(
        "",
        [
            must("message", text("What is wrong, for people.")),
            must("type", word("Whose fault it is.", &kinds.map(ErrorKind::name))),
            or_null("param", text("The field that is wrong.")),
            must("code", text("The cause's name.")),
        ],
    );
    told("An error.", [must("error", error)])
}

fn anthropic_error() -> Form {
    let error = told("", [must("type", text("What kind of error it is.")), must("message", text("What is wrong."))]);
    told("An error.", [must("type", word("", &["error"])), must("error", error)])
}

fn llama_cpp_error() -> Form {
    let error = told(
        "",
        [
            must("code", whole("The status.", 400..=599)),
            must("message", text("What is wrong.")),
            must("type", text("What kind of error it is.")),
        ],
    );
    told("An error.", [must("error", error)])
}

fn usage() -> Form {
    let prompt = told("", [must("cached_tokens", count("Those that were found computed."))]);
    let predictions = told(
        "",
        [
            must("accepted_prediction_tokens", count("Drafts that were generated then.")),
            must("rejected_prediction_tokens", count("The others: work, and no tokens.")),
        ],
    );
    told(
        "Token counts.",
        [
            must("prompt_tokens", count("Of all prompts.")),
            must("completion_tokens", count("Generated.")),
            must("total_tokens", count("Both.")),
            must("prompt_tokens_details", prompt),
            super::form::at_times("completion_tokens_details", predictions),
        ],
    )
}

/// Members of a scored token.
pub(super) fn scored() -> Vec<Member> {
    vec![
        must("token", text("Its text.")),
        must("logprob", number("Its log-probability; -9999 for none at all.")),
        must("bytes", list("Its bytes.", whole("", 0..=255))),
    ]
}

fn score() -> Form {
    let id = || maybe("id", whole("Its id, where ids are told.", 0..=u32::MAX.into()));
    let mut alternative = scored();
    alternative.push(id());
    let mut members = scored();
    members.push(id());
    members.push(must("top_logprobs", list("The likeliest in its place.", open("", alternative))));
    open("A token with its log-probability.", members)
}
