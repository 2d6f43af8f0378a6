//! `POST /v1/score`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::body::JsonBody;
use super::error::ApiError;
use super::stream;
use super::wire::{ScoreRequest, score};
use crate::app::App;
use crate::embed::{Scored, score as score_pairs};
use crate::tenancy::Access;

pub(super) async fn score(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut request = ScoreRequest::parse(&body.bytes)?;
    request.urgency = request.urgency.within(body.timeout);
    let asker = body.asker(access);
    let model = request.model.clone();
    let Scored { scores, receipt } = score_pairs(&app, asker, request).await?;
    stream::json(receipt, move |receipt| score::body(&model, &scores, receipt)).await
}
