//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use models::generation::Echo;

use super::body::JsonBody;
use super::error::ApiError;
use super::guard::Tenant;
use super::stream;
use super::wire::ChatRequest;
use super::wire::answer::{AnswerHead, AnswerWriter, Form};
use crate::app::App;
use crate::generate::{Asked, Prompt, generate};

pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Extension(tenant): Extension<Tenant>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ChatRequest { common, messages } = ChatRequest::parse(&body.bytes)?;
    drop(body);
    let head = AnswerHead::new(Form::Chat, common.model.clone());
    let (delivery, answers) = (common.delivery, common.choices);
    let id = head.id.clone();
    let format = stream::Format { writer: AnswerWriter::new(head, Form::Chat, &common), answers };
    let prompt = Prompt::Messages(messages);
    let asked = Asked { id, tenant: tenant.0, common, prompt, echo: Echo::Nothing };
    let answer = generate(&app, asked).await?;
    Ok(stream::answer(answer, format, delivery).await)
}
