//! `GET /v1/live`: what the dashboard shows, as server-sent events on one stream.
//!
//! First who asks (`hello`), then everything (`pool`, `receipts`, `tenants`, `savings`), then each of these again when it is
//! another, twice a second at most. All but receipts are told whole, so that a client that reads slowly gets the latest
//! and misses nothing but what is over; that receipts were overtaken is told (`missed`, and by how many to who
//! administers). A stream ends after [`LIVE_LASTS`]: the browser asks again, and shows again who it is. It ends as well once
//! its key or its sign-in does: that is looked at before anything is told.
//!
//! Invariants: whoever does not administer sees its own requests, sums, budgets and savings alone, and of the pool what
//! `GET /models` shows it. Deliberately absent: what may be asked for when it is looked at (`/v1/usage/{id}`, `/v1/savings`).

mod figures;

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use scheduler::Instant;
use scheduler::limits::RETRY_AFTER_MIN;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::error::ApiError;
use super::stream::{event_stream, push_event};
use super::{guard, models, sign_in};
use crate::app::App;
use crate::limits::{LISTENER_SIGN_EVERY, LIVE_EVERY, LIVE_LASTS, LIVE_MODELS_MAX, LIVE_RECEIPTS_MAX};
use crate::live::Follower;
use crate::metering::Brief;
use crate::tenancy::{Access, KeyMark, Shown};

/// `GET /v1/live`.
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let follower = app.live.follow(&access.tenant).ok_or_else(|| ApiError::overloaded(RETRY_AFTER_MIN))?;
    let mut hello = sign_in::about(&access);
    hello["signed_in"] = sign_in::token(&headers).is_some().into();
    hello["version"] = env!("CARGO_PKG_VERSION").into();
    hello["now_unix_ms"] = app.metering.now_unix_ms().into();
    let by = match (guard::key(&headers), sign_in::token(&headers)) {
        (Some(key), _) => OpenedBy::Key(app.keyring.mark(key)),
        (None, Some(token)) => OpenedBy::SignIn(token.to_owned()),
        (None, None) => OpenedBy::Nobody,
    };
    let (events, body) = mpsc::channel(1);
    let count = app.metering.recent().count();
    let telling = Telling { app, access, by, follower, count, told: (0, 0), next_receipt: None };
    tokio::spawn(telling.tell(hello, events));
    Ok(event_stream(body))
}

/// What a stream was opened by.
enum OpenedBy {
    /// No key at all.
    Nobody,
    /// A key, by what it is found again by.
    Key(KeyMark),
    /// The cookie of a sign-in.
    SignIn(String),
}

/// What is told to one client.
struct Telling {
    app: Arc<App>,
    access: Arc<Access>,
    by: OpenedBy,
    follower: Follower,
    count: watch::Receiver<u64>,
    /// The versions of the pool and of the ledger's figures that were told last.
    told: (u64, u64),
    /// The first receipt that was not told; none before any was.
    next_receipt: Option<u64>,
}

impl Telling {
    /// Tells everything and then every change, until the client leaves, its time is over or the server stops.
    async fn tell(mut self, hello: Value, events: mpsc::Sender<Bytes>) {
        let began = Instant::now();
        let mut stopping = self.app.stopping.clone();
        let mut text = event("hello", &hello);
        tokio::select! {
            () = self.follower.first() => {}
            () = events.closed() => return,
            _ = stopping.wait_for(|&stopping| stopping) => return,
        }
        text.push_str(&self.changes());
        loop {
            if events.send(text.into()).await.is_err() || began.elapsed() >= LIVE_LASTS {
                return;
            }
            let told = Instant::now();
            text = tokio::select! {
                text = self.change(told + LIVE_EVERY) => text,
                () = tokio::time::sleep(LISTENER_SIGN_EVERY) => ": alive\n\n".to_owned(),
                () = events.closed() => return,
                _ = stopping.wait_for(|&stopping| stopping) => return,
            };
            if !self.is_still_let_in().await {
                return;
            }
        }
    }

    /// Whether its client would be let in again as who it was. What cannot be found out is told nobody.
    async fn is_still_let_in(&mut self) -> bool {
        let shown = match &self.by {
            OpenedBy::Nobody => Shown::Nothing,
            OpenedBy::Key(mark) => Shown::Mark(*mark),
            OpenedBy::SignIn(token) => sign_in::shown(&self.app, token),
        };
        match self.app.keyring.identify(shown).await {
            Ok(Some(access)) if sign_in::about(&access) == sign_in::about(&self.access) => {
                // Which models it may see can be others by now.
                self.access = access;
                true
            }
            _ => false,
        }
    }

    /// What has changed, once anything has, and not before `earliest`. Nothing is lost when the future is dropped.
    async fn change(&mut self, mut earliest: Instant) -> String {
        loop {
            tokio::time::sleep_until(earliest).await;
            let text = self.changes();
            if !text.is_empty() {
                return text;
            }
            // Each of them fails when the server ends, of which the stream hears by itself.
            tokio::select! {
                _ = self.follower.pool.changed() => {}
                _ = self.follower.ledger.changed() => {}
                _ = self.count.changed() => {}
            }
            // What it was may be none of this client's.
            earliest = Instant::now() + LIVE_EVERY;
        }
    }

    /// What has changed since it was told: at first everything.
    fn changes(&mut self) -> String {
        let mut text = String::new();
        let pool = self.follower.pool.borrow_and_update().clone();
        if let Some(pool) = pool.filter(|pool| pool.version != self.told.0) {
            self.told.0 = pool.version;
            text.push_str(&event("pool", &models::told_pool((&self.app, &self.access), &pool, LIVE_MODELS_MAX)));
        }
        self.count.mark_unchanged();
        text.push_str(&self.receipts());
        let recorded = self.follower.ledger.borrow_and_update().clone();
        if let Some(recorded) = recorded.filter(|recorded| recorded.version != self.told.1) {
            self.told.1 = recorded.version;
            match &recorded.figures {
                Some(figures) => {
                    text.push_str(&event("tenants", &figures::tenants((&self.app, &self.access), figures)));
                    text.push_str(&event("savings", &figures::savings((&self.app, &self.access), figures)));
                }
                None => text.push_str(&event("unavailable", &json!({ "what": "ledger" }))),
            }
        }
        text
    }

    /// The receipts that were not told yet, of those that this client sees.
    fn receipts(&mut self) -> String {
        let since = self.app.metering.recent().since(self.next_receipt.unwrap_or(0));
        let is_first = self.next_receipt.replace(since.next).is_none();
        let mut seen: Vec<&Brief> =
            since.briefs.iter().map(|brief| &**brief).filter(|brief| self.access.sees(&brief.tenant)).collect();
        let mut text = String::new();
        if is_first {
            seen.drain(..seen.len().saturating_sub(LIVE_RECEIPTS_MAX));
        } else if since.overtaken > 0 {
            // How many were others' is not everyone's to know.
            let count = self.access.sees_all().then_some(since.overtaken);
            text.push_str(&event("missed", &json!({ "receipts": count })));
        }
        if is_first || !seen.is_empty() {
            text.push_str(&event("receipts", &json!({ "first": is_first, "data": seen })));
        }
        text
    }
}

fn event(name: &str, data: &Value) -> String {
    let mut text = String::new();
    push_event(&mut text, &json!({ "event": name, "data": data }).to_string());
    text
}
