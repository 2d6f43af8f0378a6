//! The signals that end a server: the first drains it, the second ends the process at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// How a process ends that was told twice: as one that was killed by SIGTERM (128 + 15).
const EXIT_AT_ONCE: i32 = 143;

/// Completes at the first SIGTERM or SIGINT. From then on the next one ends the process.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) async fn requested() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining; a second signal ends at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(())
}
