//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::body::JsonBody;
use super::error::ApiError;
use super::stream;
use super::wire::{EmbeddingRequest, embedding};
use crate::app::App;
use crate::embed::{Encoded, embed};
use crate::tenancy::Access;

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut request = EmbeddingRequest::parse(&body.bytes)?;
    request.urgency = request.urgency.within(body.timeout);
    let asker = body.asker(access);
    let (model, format) = (request.model.clone(), request.format);
    let Encoded { rows, receipt } = embed(&app, asker, request).await?;
    stream::json(receipt, move |receipt| embedding::body(&model, &rows, format, receipt)).await
}
