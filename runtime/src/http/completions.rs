//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::body::JsonBody;
use super::error::ApiError;
use super::openai::OpenAi;
use super::stream;
use super::wire::CompletionRequest;
use super::wire::answer::{AnswerHead, AnswerWriter, Form};
use crate::app::App;
use crate::generate::{Asked, Prompt};
use crate::tenancy::Access;

pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let CompletionRequest { common, prompts, echo, special } = CompletionRequest::parse(&body.bytes)?;
    let urgency = common.urgency.within(body.timeout);
    let asker = body.asker(access);
    let head = AnswerHead::new(Form::Completion, &common);
    let id = head.id.clone();
    let answers = common.choices * prompts.len();
    let dialect = OpenAi::new(AnswerWriter::new(head, Form::Completion, &common), &common, answers);
    let prompt = Prompt::Raw(prompts, special);
    let asked = Asked { id, asker, urgency, common: common.counted(), prompt, echo };
    stream::answer(&app, asked, dialect).await
}
