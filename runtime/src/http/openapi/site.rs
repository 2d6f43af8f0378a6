//! The server itself: probes, metrics, this document, the dashboard and who is signed in to it.

use axum::http::StatusCode;

use super::form::{Form, any_object, flag, list, must, or_null, text, told, word};
use super::operation::{Operation, Tag};
use crate::tenancy::Scope;

fn texts(id: &'static str, summary: &'static str, (kind, form): (&str, Form)) -> Operation {
    Operation::new(id, Tag::Server, summary).answers_as(kind, form)
}

/// `GET /`.
pub(in crate::http) fn page() -> Operation {
    let page = texts("getDashboard", "The dashboard; a word to who takes no page.", ("text/html", text("")));
    kept(page.answers_as("text/plain", text("That a server is there."))).fails(&[StatusCode::NOT_FOUND])
}

/// `GET /assets/{name}`.
pub(in crate::http) fn asset() -> Operation {
    let operation = texts("getAsset", "A part of the dashboard.", ("text/javascript", text("")));
    let operation = operation.answers_as("text/css", text("")).answers_as("image/svg+xml", text(""));
    let operation = operation.answers_as("application/octet-stream", text(""));
    kept(operation).at("name", text("As the page names it.")).fails(&[StatusCode::NOT_FOUND])
}

fn kept(operation: Operation) -> Operation {
    operation
        .hears("If-None-Match", text("What the browser has of it."))
        .tells("ETag", text("Which version it is."))
        .answers_nothing(StatusCode::NOT_MODIFIED, "The browser has it.")
}

/// `POST /v1/sign-in`.
pub(in crate::http) fn sign_in() -> Operation {
    Operation::new("signIn", Tag::Server, "Gives a browser that shows a key a cookie that stands for it.")
        .answers(told("", [must("tenant", text("Whose key it is.")), must("scopes", scopes())]))
        .tells("Set-Cookie", text("The cookie."))
}

/// `GET /v1/sign-in`.
pub(in crate::http) fn signed_in() -> Operation {
    let tenant = or_null("tenant", text("Who it is; null where a key is needed."));
    let is_signed_in = must("signed_in", flag("Whether that is by its cookie."));
    Operation::new("signedIn", Tag::Server, "Who a browser is, whether it has signed in or not.")
        .answers(told("", [tenant, must("scopes", scopes()), is_signed_in]))
        .tells("Set-Cookie", text("Takes away a cookie that is over."))
        .fails(&[StatusCode::SERVICE_UNAVAILABLE])
}

fn scopes() -> Form {
    list("What the key is for.", word("", &Scope::ALL.map(Scope::name)))
}

/// `DELETE /v1/sign-in`.
pub(in crate::http) fn sign_out() -> Operation {
    Operation::new("signOut", Tag::Server, "Ends a browser's sign-in.")
        .answers_nothing(StatusCode::NO_CONTENT, "It is over, if there was any.")
        .tells("Set-Cookie", text("Takes the cookie away."))
}

/// `GET /livez`.
pub(in crate::http) fn livez() -> Operation {
    texts("livez", "Whether the process lives.", ("text/plain", text("")))
}

/// `GET /readyz`.
pub(in crate::http) fn readyz() -> Operation {
    texts("readyz", "Whether the server can serve; it can with no model in memory.", ("text/plain", text("")))
        .answers_text(StatusCode::SERVICE_UNAVAILABLE, "What is not ready.")
}

/// `GET /metrics`.
pub(in crate::http) fn metrics() -> Operation {
    texts("getMetrics", "Figures for Prometheus.", ("application/openmetrics-text", text("")))
}

/// `GET /openapi.json`.
pub(in crate::http) fn document() -> Operation {
    Operation::new("getOpenApi", Tag::Server, "This document.").answers(any_object("OpenAPI 3.1."))
}
