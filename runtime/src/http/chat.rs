//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use models::generation::Echo;

use super::body::JsonBody;
use super::error::ApiError;
use super::openai::OpenAi;
use super::reading::Reading;
use super::stream;
use super::wire::ChatRequest;
use super::wire::answer::{AnswerHead, AnswerWriter, Form};
use crate::app::App;
use crate::generate::{Asked, Prompt};
use crate::tenancy::Access;

pub(super) async fn complete(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let ChatRequest { common, messages, options } = ChatRequest::parse(&body.bytes)?;
    let urgency = common.urgency.within(body.timeout);
    let asker = body.asker(access);
    let head = AnswerHead::new(Form::Chat, &common);
    let id = head.id.clone();
    let reading = Reading::of(&common, &options);
    let writer = AnswerWriter::new(head, Form::Chat, &common);
    let dialect = OpenAi::new(writer, &common, common.choices).read_by(reading);
    let prompt = Prompt::Messages(messages, Box::new(options));
    let asked = Asked { id, asker, urgency, common: common.counted(), prompt, echo: Echo::Nothing };
    stream::answer(&app, asked, dialect).await
}
