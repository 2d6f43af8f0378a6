//! A header with the names of a body's fields that passed unread, where the operator lets them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::wire::unknown::{noting, passed};
use crate::app::App;
use crate::config::UnknownFields;

/// What the header is called.
pub(super) const HEADER: &str = "x-dayfly-ignored-fields";

/// The middleware around every route.
pub(super) async fn let_pass(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.config().unknown_fields {
        UnknownFields::Refuse => next.run(request).await,
        UnknownFields::Accept => noting(named(request, next)).await,
    }
}

async fn named(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(told) = passed().told().and_then(|told| HeaderValue::try_from(told).ok()) {
        response.headers_mut().insert(HeaderName::from_static(HEADER), told);
    }
    response
}
