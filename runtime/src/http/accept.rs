//! Sockets: accepts within bounds, speaks HTTP/1.1 with hyper, drains when it is told to stop.
//!
//! Bounds: connections at once, header lines and bytes, time to send a head. A connection that cannot be accepted for
//! want of descriptors is tried again after a pause, and those that are open go on.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tower::ServiceExt as _;

use crate::activity::Hold;
use crate::app::App;
use crate::limits::{
    ACCEPT_BACKOFF, CONNECTIONS_MAX, DRAIN_MAX, HEADER_BYTES_MAX, HEADER_READ_MAX, HEADERS_MAX, UNREAD_MAX,
};

/// When a server accepts nobody any more.
pub(crate) struct Exit {
    /// When this turns true.
    pub(crate) stop: watch::Receiver<bool>,
    /// When nobody has used it for so long; `None` is never.
    pub(crate) when_idle: Option<Duration>,
    /// Who is told that it was that.
    pub(crate) told: oneshot::Sender<()>,
}

/// Serves `listener` until it is to accept nobody any more, then until the connections that are open have ended, or
/// [`DRAIN_MAX`] has passed.
///
/// That nobody uses the server is found out where connections are accepted, so that none is accepted after that: who comes
/// then stays in the socket, for the next process if that has it as well.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, exit: Exit) {
    let Exit { mut stop, when_idle, told } = exit;
    let router = super::router(Arc::clone(&app));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            _ = stop.wait_for(|&stop| stop) => break,
            () = idle_for(&app, when_idle) => {
                // Fails when the server is stopped already.
                let _ = told.send(());
                break;
            }
        };
        match accepted {
            Ok((stream, slot)) => {
                let connection = connection(stream, (router.clone(), app.activity.hold()));
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    // The peer's faults are its own; hyper has answered what could be answered.
                    if let Err(error) = connection.await {
                        tracing::debug!(error = &error as &dyn std::error::Error, "connection");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "accept");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut off by the drain's deadline");
    }
}

async fn idle_for(app: &Arc<App>, span: Option<Duration>) {
    match span {
        Some(span) => app.idle_for(span).await,
        None => std::future::pending().await,
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Both fail for a peer that has left already, which the connection will find out.
    let _ = stream.set_nodelay(true);
    set_unread_max(&stream);
    Ok((stream, slot))
}

/// Ends a connection whose peer takes nothing of what is sent, or does not acknowledge it, for too long: no answer may
/// hold its place for ever.
#[cfg(target_os = "linux")]
fn set_unread_max(stream: &TcpStream) {
    let millis = u32::try_from(UNREAD_MAX.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
}

#[cfg(not(target_os = "linux"))]
fn set_unread_max(_stream: &TcpStream) {}

/// Speaks with whoever connected. `arriving` is held until it has said what it wants for the first time: a connection that
/// was accepted is answered.
fn connection(
    stream: TcpStream,
    (router, arriving): (Router, Hold),
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>,
> {
    let arriving = Mutex::new(Some(arriving));
    let service = service_fn(move |request: Request<Incoming>| {
        let arriving = arriving.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer(router.clone(), request, arriving)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}

/// A request whose length is told in two ways is read by its chunks, and its connection is closed: nothing that follows
/// on it is taken for a request.
async fn answer(
    router: Router,
    mut request: Request<Incoming>,
    arriving: Option<Hold>,
) -> Result<Response, Infallible> {
    let headers = request.headers();
    let is_ambiguous = headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH);
    super::paths::tidy(request.uri_mut());
    let mut response = router.oneshot(request).await?;
    // From its arrival on the request itself is held.
    drop(arriving);
    if is_ambiguous {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
