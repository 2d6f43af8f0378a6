//! Sockets: accepts within bounds, speaks HTTP/1.1 with hyper, drains when it is told to stop.
//!
//! Bounds: connections at once, header lines and bytes, time to send a head. A connection that cannot be accepted for
//! want of descriptors is tried again after a pause, and those that are open go on.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

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
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use crate::app::App;
use crate::limits::{
    ACCEPT_BACKOFF, CONNECTIONS_MAX, DRAIN_MAX, HEADER_BYTES_MAX, HEADER_READ_MAX, HEADERS_MAX, UNREAD_MAX,
};

/// Serves `listener` until `stop` turns true, then until the connections that are open have ended, or
/// [`DRAIN_MAX`] has passed.
pub(crate) async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let router = super::router(app);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        match accepted {
            Ok((stream, slot)) => {
                let connection = connection(stream, router.clone());
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

fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send>,
> {
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}

/// A request whose length is told in two ways is read by its chunks, and its connection is closed: nothing that follows
/// on it is taken for a request.
async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let headers = request.headers();
    let is_ambiguous = headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_LENGTH);
    let mut response = router.oneshot(request).await?;
    if is_ambiguous {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
