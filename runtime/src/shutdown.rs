//! The signals that end a server: the first drains it, the second ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndSignal {
    /// SIGTERM: whoever started the process wants it to end.
    Terminate,
    /// SIGINT: its user does.
    Interrupt,
}

impl EndSignal {
    /// The exit status of a process that such a signal has ended, as shells tell it: 128 and the signal's number.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// Completes at the first of them. From then on the next one ends the process.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) async fn requested() -> io::Result<EndSignal> {
    let mut signals = Signals::listen()?;
    let first = signals.next().await;
    signals.end_at_the_next();
    Ok(first)
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
    pub(crate) async fn next(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
        }
    }

    /// From now on the next one ends the process.
    pub(crate) fn end_at_the_next(mut self) {
        tracing::info!("draining; a signal from here on ends at once");
        tokio::spawn(async move {
            let second = self.next().await;
            std::process::exit(second.exit_code().into());
        });
    }
}
