//! What a service manager passes to the server and hears from it, by systemd's protocols: a socket that is listened on
//! already (`LISTEN_FDS`), and what the server is about (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
//!
//! A socket that was passed stays open in the manager's hands when the server ends: whoever connects meanwhile waits in it
//! for the next start. Without a manager nothing here does anything.
//!
//! Deliberately absent: more than one socket, sockets that are not TCP, and descriptors that outlast the server.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::config::Environment;

/// Why what was passed cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassedError {
    /// There is more than one.
    #[error("{0} sockets were passed, and one is served")]
    Several(usize),
    /// It is something else.
    #[error("what was passed is no TCP socket that can be listened on")]
    Unusable(#[source] io::Error),
}

/// The socket that a service manager listens on for this process. Called before there are threads: the variables that tell
/// of it are taken out of the environment.
///
/// # Errors
/// [`PassedError`].
pub(crate) fn passed_listener() -> Result<Option<TcpListener>, PassedError> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(PassedError::Several(passed.len()));
    }
    let listener = passed.take_tcp_listener(0).map_err(PassedError::Unusable)?;
    listener.iter().try_for_each(|listener| listener.set_nonblocking(true)).map_err(PassedError::Unusable)?;
    Ok(listener)
}

/// Tells a service manager what the server is about.
pub(crate) struct Notifier {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the server is well.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// To whom the environment says, if it does.
    pub(crate) fn of(environment: &Environment) -> Self {
        let socket = environment.notify_socket().and_then(|name| {
            let connected = connected(name);
            if let Err(error) = &connected {
                tracing::warn!(error = error as &dyn std::error::Error, "the service manager is not told anything");
            }
            connected.ok()
        });
        Self { watchdog: environment.watchdog().filter(|_| socket.is_some()), socket }
    }

    /// It serves.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// Its configuration is read again, until it is [`ready`](Self::ready).
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It ends.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Says for as long as it runs that the server is well, while it is: every pool answers, and every executor lives. A
    /// ledger that cannot be written is no reason to begin anew.
    pub(crate) async fn watch(&self, app: &Arc<App>) {
        let Some(every) = self.watchdog else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(every / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if crate::http::computes(app).await {
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(error = &error as &dyn std::error::Error, "the service manager does not hear");
        }
    }
}

/// What is called so: a path, or on Linux a name behind `@`.
#[cfg(target_os = "linux")]
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;

    match name.as_bytes().split_first() {
        Some((b'@', abstract_name)) => SocketAddr::from_abstract_name(abstract_name),
        _ => SocketAddr::from_pathname(name),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(name)
}

fn connected(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = address(name)?;
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read holds nobody up.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::limits::{BLOCKED_MAX, DEVICES_MAX, DRAIN_MAX, STALL_MAX};

    #[test]
    fn a_manager_hears_what_the_server_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let variables = [("NOTIFY_SOCKET", path.into_os_string()), ("WATCHDOG_USEC", OsString::from("3000000"))];
        let environment = Environment::of(variables.map(|(name, value)| (OsString::from(name), value)).into_iter());
        let notifier = Notifier::of(&environment);
        assert_eq!(notifier.watchdog, Some(Duration::from_secs(3)));
        notifier.ready("listening");
        notifier.reloading();
        notifier.stopping("idle");
        let hear = || {
            let mut buffer = [0; 256];
            let length = heard.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(hear(), "READY=1\nSTATUS=listening");
        assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(hear(), "STOPPING=1\nSTATUS=idle");
    }

    #[test]
    fn the_unit_gives_the_drain_its_time() {
        let unit = include_str!("../deploy/systemd/dayfly.service");
        let seconds = |name: &str| {
            let value = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            Duration::from_secs(value.unwrap().strip_suffix('s').unwrap().parse().unwrap())
        };
        // Requests, then their rows and connections, then the models, then what blocks.
        let drain = DRAIN_MAX + STALL_MAX + DRAIN_MAX + BLOCKED_MAX;
        assert!(seconds("TimeoutStopSec") > drain, "{drain:?}");
        let file = include_str!("../deploy/Dockerfile");
        let stop = file.split("docker stop --time ").nth(1).and_then(|rest| rest.split('.').next()).unwrap();
        assert!(Duration::from_secs(stop.parse().unwrap()) > drain);
        // Twice as often as it is asked for; a look takes up to a second for each device.
        assert!(seconds("WatchdogSec") >= 4 * u32::try_from(DEVICES_MAX).unwrap() * Duration::from_secs(1) / 2);
        assert!(unit.contains("KillSignal=SIGTERM") && unit.contains("ExecReload=/bin/kill -HUP $MAINPID"));
    }

    #[test]
    fn without_a_manager_nothing_is_told() {
        let notifier = Notifier::of(&Environment::default());
        assert!(notifier.socket.is_none() && notifier.watchdog.is_none());
        notifier.ready("listening");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let variables = [("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")];
        let environment = Environment::of(variables.map(|(name, value)| (name.into(), value.into())).into_iter());
        assert_eq!(environment.watchdog(), None);
    }
}
