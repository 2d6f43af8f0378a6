//! The signals that end a server: the first drains it, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a process ends that was told twice: as one that was killed by SIGTERM (128 + 15).
const EXIT_AT_ONCE: i32 = 143;

/// Completes at the first of them. From then on the next one ends the process.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) async fn requested() -> io::Result<()> {
    let mut signals = Signals::listen()?;
    signals.next().await;
    signals.end_at_the_next();
    Ok(())
}

/// SIGTERM and SIGINT, which are for us from here on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen to them.
    ///
    /// # Errors
    /// When that cannot be.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes at the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// From now on the next one ends the process.
    pub(crate) fn end_at_the_next(mut self) {
        tracing::info!("draining; a signal from here on ends at once");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(EXIT_AT_ONCE);
        });
    }
}
