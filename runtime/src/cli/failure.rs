//! How a command ends when it does not end well.

use std::io::{self, Write as _};

use hyper::StatusCode;

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::shutdown::EndSignal;

/// Exit status of wrong usage, clap's own.
pub(super) const USAGE: u8 = 2;

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something went wrong.
    Failed(anyhow::Error),
    /// What was asked for makes no sense, or the configuration does not.
    Usage(anyhow::Error),
    /// A server takes what was asked for wrong usage.
    Refused(anyhow::Error),
    /// There is no such model.
    NotFound(anyhow::Error),
    /// Nobody answers.
    NoServer(anyhow::Error),
    /// The key is missing, is none, or is not for that.
    NotAllowed(anyhow::Error),
    /// The user, or whoever started the command, wants no more.
    Interrupted(EndSignal),
    /// Nobody reads stdout any more, which is fine.
    Closed,
}

impl Failure {
    /// The process' exit status.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) | Self::Refused(_) => USAGE,
            Self::NotFound(_) => 3,
            Self::NoServer(_) => 4,
            Self::NotAllowed(_) => 5,
            Self::Interrupted(signal) => signal.exit_code(),
        }
    }

    /// Tells the user why, on stderr.
    pub(super) fn tell(&self) {
        if let Some(why) = self.why() {
            // Nobody to tell if stderr is closed.
            let _ = writeln!(io::stderr(), "dayfly: {why}");
        }
    }

    /// Why, if there is more to say than the exit status does.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            Self::Failed(error)
            | Self::Usage(error)
            | Self::Refused(error)
            | Self::NotFound(error)
            | Self::NoServer(error)
            | Self::NotAllowed(error) => Some(format!("{error:#}")),
            Self::Interrupted(_) | Self::Closed => None,
        }
    }

    /// What writing to stdout failed with.
    pub(super) fn of_stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(anyhow::Error::new(error).context("stdout cannot be written")),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        // What a server finds out when it starts is the operator's to mend all the same.
        if error.is::<ConfigError>() { Self::Usage(error) } else { Self::Failed(error) }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.into())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Passing(error) => Self::of_stdout(error),
            ClientError::Address { .. } => Self::Usage(error.into()),
            ClientError::Unreachable { .. } => Self::NoServer(error.into()),
            error if error.is_model_not_found() => Self::NotFound(error.into()),
            ClientError::Refused { status, .. } => Self::of_refusal(status, error.into()),
            error => Self::Failed(error.into()),
        }
    }
}

impl Failure {
    /// Whose fault it is that a server said no.
    fn of_refusal(status: StatusCode, error: anyhow::Error) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => {
                Self::NotAllowed(anyhow::anyhow!("{error}: say it in DAYFLY_API_KEY; `dayfly key create` makes one"))
            }
            StatusCode::FORBIDDEN => Self::NotAllowed(error),
            StatusCode::BAD_REQUEST => Self::Refused(error),
            _ => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_failures_apart() {
        let refused_as =
            |status, code: &str| ClientError::Refused { status, code: Some(code.into()), message: String::new() };
        let refused = |code: &str| refused_as(StatusCode::NOT_FOUND, code);
        let unreachable = ClientError::Unreachable { authority: String::new(), source: io::ErrorKind::TimedOut.into() };
        let broken_pipe = ClientError::Passing(io::ErrorKind::BrokenPipe.into());
        let full = ClientError::Passing(io::ErrorKind::StorageFull.into());
        let codes = [
            (broken_pipe, 0),
            (full, 1),
            (refused("x"), 1),
            (refused_as(StatusCode::SERVICE_UNAVAILABLE, "x"), 1),
            (refused_as(StatusCode::BAD_REQUEST, "invalid_value"), USAGE),
            (refused("model_not_found"), 3),
            (unreachable, 4),
            (refused_as(StatusCode::UNAUTHORIZED, "invalid_api_key"), 5),
            (refused_as(StatusCode::FORBIDDEN, "insufficient_scope"), 5),
        ];
        for (error, code) in codes {
            let shown = format!("{error:?}");
            assert_eq!(Failure::from(error).exit_code(), code, "{shown}");
        }
        // What a server refuses is the caller's, and nothing that this machine cannot do.
        let refused = Failure::from(refused_as(StatusCode::BAD_REQUEST, "invalid_value"));
        assert!(matches!(refused, Failure::Refused(_)), "{refused:?}");
        let wrong = ConfigError::KeysNeeded { listen: ([0, 0, 0, 0], 1).into() };
        assert_eq!(Failure::from(wrong).exit_code(), USAGE);
    }
}
