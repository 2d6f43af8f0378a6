//! What goes to stderr, and in which form.
//!
//! What is logged is chosen by `DAYFLY_LOG`, or while a server runs by `log` of the configuration file, which may change.
//!
//! Invariants: no prompt, answer or key is in the log, whatever its level: of a panic it is told where it was, and its
//! message only where that is a part of the program, since others may quote what was worked on.

use std::any::Any;
use std::fmt;
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::Environment;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object in each line.
    Json,
}

/// What is logged, such as `info` or `dayfly=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogDirectives(String);

impl FromStr for LogDirectives {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        EnvFilter::try_new(text).map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for LogDirectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The log of this process.
#[derive(Clone)]
pub(crate) struct Log {
    usual: &'static str,
    /// None where the environment has chosen.
    replace: Option<Replace>,
}

type Replace = Arc<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>;

impl Log {
    /// Begins to log: what the environment says, or else what is `usual`.
    pub(crate) fn begin(usual: &'static str, format: LogFormat, environment: &Environment) -> Self {
        let chosen = environment.log().map(EnvFilter::try_new);
        let (is_chosen, is_wrong) = (matches!(chosen, Some(Ok(_))), matches!(chosen, Some(Err(_))));
        let filter = chosen.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(usual));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let replace: Replace = match format {
            LogFormat::Text => {
                let is_coloured = std::io::stderr().is_terminal() && !environment.no_color();
                let builder = builder.with_ansi(is_coloured).with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                Arc::new(move |filter| handle.reload(filter))
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
                let builder = builder.with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                Arc::new(move |filter| handle.reload(filter))
            }
        };
        if is_wrong {
            tracing::warn!("DAYFLY_LOG is no log filter and is ignored");
        }
        Self { usual, replace: (!is_chosen).then_some(replace) }
    }

    /// Logs what is chosen from now on, or what is usual; the environment's choice stays.
    pub(crate) fn choose(&self, chosen: Option<&LogDirectives>) {
        let Some(replace) = &self.replace else { return };
        let filter = EnvFilter::new(chosen.map_or(self.usual, |LogDirectives(text)| text));
        if let Err(error) = replace(filter) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the log goes on as it was");
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("usual", &self.usual).finish_non_exhaustive()
    }
}

/// Has panics told in the log, without what they may quote.
pub(crate) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string);
        let message = literal(panic.payload());
        tracing::error!(thread = thread.name(), place, message, "a thread panicked");
    }));
}

/// A panic's message, if it is a part of the program.
fn literal(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_s_message_is_told_where_it_quotes_nothing() {
        let caught = |panic: fn()| std::panic::catch_unwind(panic).unwrap_err();
        assert_eq!(literal(&*caught(|| panic!("a bug"))), Some("a bug"));
        let text = std::hint::black_box("a prompt");
        assert_eq!(literal(&*std::panic::catch_unwind(|| panic!("in {text}")).unwrap_err()), None);
    }

    #[test]
    fn directives_are_checked() {
        assert_eq!("dayfly=debug,info".parse::<LogDirectives>().unwrap().to_string(), "dayfly=debug,info");
        assert!("dayfly=loud".parse::<LogDirectives>().is_err());
    }
}
