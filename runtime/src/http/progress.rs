//! What a stream waits for, told in comments before its first event.
//!
//! `: queued ahead=3`, `: model state=loading stage=weights done_bytes=1024 total_bytes=4096`. Clients of server-sent events
//! skip comments, so nothing that does not ask (`stream_options.include_progress`) or look is any different; but the
//! status is 200 before anything is known, and what fails later is an event.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use scheduler::{ModelState, Standing};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::stream::{Dialect, Writer, stream_of, write};
use crate::app::App;
use crate::generate::{Asked, generate};
use crate::limits::PROGRESS_EVERY;

/// Starts a stream at once, which tells what it waits for.
pub(super) fn streamed(app: &Arc<App>, asked: Asked, dialect: Box<dyn Dialect>) -> Response {
    let (parts, body) = mpsc::channel(1);
    let response = stream_of(body, dialect.stream_type());
    tokio::spawn(tell(Arc::clone(app), asked, dialect, parts));
    response
}

async fn tell(app: Arc<App>, asked: Asked, mut dialect: Box<dyn Dialect>, parts: mpsc::Sender<Bytes>) {
    let mut teller = Teller { parts: parts.clone(), told: String::new() };
    let model = app.known_name(&asked.asker.access, &asked.common.model).await.unwrap_or_default();
    let mut ticks = interval(PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let record = asked.asker.record.clone();
    let starting = generate(&app, asked);
    tokio::pin!(starting);
    let started = loop {
        tokio::select! {
            started = &mut starting => break started,
            news = next_of_model(&app, model.as_deref(), &mut ticks) => teller.tell(news),
            () = parts.closed() => return,
        }
    };
    let prepared = started.and_then(|answer| dialect.prepare(&answer.descriptor).map(|()| answer));
    let mut answer = match prepared {
        Ok(answer) => answer,
        Err(error) => {
            error.log();
            record.iter().for_each(|record| record.has_failed(&error));
            // Fails when the client has left.
            let _ = parts.send(dialect.failed(&error).into()).await;
            return;
        }
    };
    let first = loop {
        tokio::select! {
            piece = answer.next() => break piece,
            _ = ticks.tick() => teller.tell(of_queue(answer.standing())),
            () = parts.closed() => return,
        }
    };
    write(Writer { answer, dialect, parts }, first).await;
}

/// Tells what has changed.
struct Teller {
    parts: mpsc::Sender<Bytes>,
    told: String,
}

impl Teller {
    /// Never waits: a client that takes nothing is told later, and holds up nothing.
    fn tell(&mut self, news: Option<String>) {
        let Some(news) = news.filter(|news| *news != self.told) else { return };
        if self.parts.try_send(format!(": {news}\n\n").into()).is_ok() {
            self.told = news;
        }
    }
}

/// What there is to say of the model at the next tick. Nothing is lost when it is dropped between the two.
async fn next_of_model(app: &App, name: Option<&str>, ticks: &mut Interval) -> Option<String> {
    ticks.tick().await;
    of_model(app, name).await
}

async fn of_model(app: &App, name: Option<&str>) -> Option<String> {
    let snapshots = app.devices.snapshots().await;
    let models = snapshots.iter().flat_map(|snapshot| &snapshot.models);
    // Where several have it, the one that it is coming to.
    let coming = |state| !matches!(state, ModelState::Resident | ModelState::Idle | ModelState::Absent);
    let model = models.filter(|model| Some(&*model.name) == name).find(|model| coming(model.state))?;
    let mut news = format!("model state={}", model.state.name());
    if let Some(progress) = model.progress {
        let (stage, done, total) = (progress.stage.name(), progress.done_bytes, progress.total_bytes);
        news.push_str(&format!(" stage={stage} done_bytes={done} total_bytes={total}"));
    }
    Some(news)
}

fn of_queue(standing: Standing) -> Option<String> {
    match standing {
        Standing::Queued { ahead } => Some(format!("queued ahead={ahead}")),
        Standing::Running => Some("computing".to_owned()),
        Standing::Ended => None,
    }
}
