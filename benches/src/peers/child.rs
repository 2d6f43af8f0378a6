//! Programs that are run to their end, within bounds of time and output.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long any child may take: a large model's slowest test, its warm-up included.
const CHILD_MAX: Duration = Duration::from_secs(20 * 60);
/// What is kept of a child's output, and of its complaints.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// Characters of a complaint that a report quotes.
const REASON_CHARS_MAX: usize = 200;

/// What `command` prints.
///
/// # Errors
/// When it cannot be started, does not end in time (it is then killed), or fails: with the last line of its complaints.
pub(super) fn output(command: &mut Command) -> anyhow::Result<String> {
    output_within(command, CHILD_MAX)
}

fn output_within(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    let stdout = collect(child.stdout.take().context("a pipe was asked for")?);
    let stderr = collect(child.stderr.take().context("a pipe was asked for")?);
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    // Both end when the child does: nobody else holds their other ends.
    let texts = stdout.recv_timeout(left()).and_then(|out| Ok((out, stderr.recv_timeout(left())?)));
    let Ok((out, complaints)) = texts else {
        child.kill()?;
        child.wait()?;
        bail!("{program} takes longer than {} s", limit.as_secs());
    };
    let status = child.wait()?;
    ensure!(status.success(), "{}", reason(&complaints).unwrap_or_else(|| format!("{program}: {status}")));
    Ok(out)
}

/// Reads `pipe` to its end on a thread of its own.
fn collect(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is all there is.
        let _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        // Nobody waits any more where the time was over.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// The last line that says something.
fn reason(complaints: &str) -> Option<String> {
    let line = complaints.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(REASON_CHARS_MAX).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> anyhow::Result<String> {
        output_within(Command::new("sh").args(["-c", script]), limit)
    }

    #[test]
    fn output_is_what_was_printed() {
        assert_eq!(shell("echo a; echo b >&2", CHILD_MAX).unwrap(), "a\n");
    }

    #[test]
    fn a_failure_is_told_by_the_last_complaint() {
        let error = shell("echo first >&2; echo ' second ' >&2; echo >&2; exit 3", CHILD_MAX).unwrap_err();
        assert_eq!(error.to_string(), "second");
        assert!(shell("exit 3", CHILD_MAX).unwrap_err().to_string().contains('3'));
        assert!(output(&mut Command::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let error = shell("exec sleep 600", Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("longer"), "{error}");
    }
}
