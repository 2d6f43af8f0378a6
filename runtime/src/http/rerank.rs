//! `POST /v1/rerank`, and by the names that other servers have for it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::body::JsonBody;
use super::error::ApiError;
use super::stream;
use super::wire::rerank::{Documents, Style};
use super::wire::{RerankRequest, rerank};
use crate::app::App;
use crate::embed::{Ranked, rank};
use crate::tenancy::Access;

pub(super) async fn rerank(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut request = RerankRequest::parse(&body.bytes)?;
    request.urgency = request.urgency.within(body.timeout);
    let asker = body.asker(access);
    let (model, results) = (request.model.clone(), request.results);
    let documents = match results.documents {
        Documents::Returned => Some(request.documents.clone()),
        Documents::Omitted => None,
    };
    let Ranked { mut scores, receipt } = rank(&app, asker, request).await?;
    scores.truncate(results.top);
    stream::json(receipt, move |receipt| match results.style {
        Style::Documents => rerank::body(&model, &scores, documents.as_deref(), receipt),
        Style::Texts => rerank::list(&scores, documents.as_deref()),
    })
    .await
}
