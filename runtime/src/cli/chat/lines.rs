//! Messages as they are typed, or as a pipe brings them.
//!
//! A thread of its own reads, for reading a terminal cannot be broken off; it ends with the process. Each line is asked for, so
//! that the terminal is as the user left it while an answer is given, and Ctrl-C is a signal then. Invariants: a message is
//! bounded; the history is a file that its user alone reads, of so many lines at most.

use std::fs;
use std::io::{self, BufRead, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Behavior, Config, Editor};
use tokio::sync::mpsc;

use crate::cli::output;
use crate::limits::{CHAT_HISTORY_LINES_MAX, PROMPT_BYTES_MAX};

/// Begins and ends a message of several lines.
const FENCE: &str = "\"\"\"";

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Perhaps of several lines.
    Message(String),
    /// More than a message may have, which is forgotten.
    TooLong,
    /// Ctrl-C, at the prompt.
    Interrupted,
}

/// Where messages come from.
#[derive(Debug)]
pub(super) struct Lines {
    asked: Sender<&'static str>,
    lines: mpsc::Receiver<Read>,
    /// How the terminal was before, if there is one.
    before: Option<Termios>,
}

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Line(String),
    TooLong,
    Interrupted,
}

/// What becomes of a message by one more line.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Ends(String),
    GoesOn(Begun),
    TooLong,
}

/// The beginning of a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Begun {
    text: String,
    /// Whether it ends by a fence; else by a line without a backslash.
    is_fenced: bool,
}

impl Lines {
    /// From the terminal, with what was typed before in the file `history`; or from stdin, where that is none.
    pub(super) fn open(history: Option<PathBuf>) -> Self {
        let (asked, asking) = channel();
        let (sender, lines) = mpsc::channel(1);
        let before = tcgetattr(io::stdin()).ok();
        std::thread::spawn(move || {
            if io::stdin().is_terminal() {
                match Terminal::open(history) {
                    Ok(mut terminal) => each(&asking, &sender, |prompt| terminal.line(prompt)),
                    Err(error) => output::note(format_args!("the terminal cannot be used: {error}")),
                }
            } else {
                let mut stdin = io::stdin().lock();
                each(&asking, &sender, |_| line_of(&mut stdin));
            }
        });
        Self { asked, lines, before }
    }

    /// Leaves the terminal as it was, where a line was being typed.
    pub(super) fn break_off(&self) {
        let Some(before) = &self.before else { return };
        if tcsetattr(io::stdin(), OptionalActions::Now, before).is_ok() && io::stderr().is_terminal() {
            // Pastes are marked while a line is typed.
            output::note("\x1b[?2004l");
        }
    }

    /// The next message; `None` at the end.
    pub(super) async fn message(&mut self) -> Option<Typed> {
        let mut begun: Option<Begun> = None;
        loop {
            // Fails where nobody reads any more, which is seen in the next line.
            let _ = self.asked.send(if begun.is_some() { "... " } else { ">>> " });
            let line = match self.lines.recv().await {
                Some(Read::Line(line)) => line,
                Some(Read::TooLong) => return Some(Typed::TooLong),
                Some(Read::Interrupted) => return Some(Typed::Interrupted),
                // What was begun at the end of a file is all there is of it.
                None => return begun.map(|begun| Typed::Message(begun.text)),
            };
            match go_on(begun.take(), &line) {
                Step::Ends(message) => return Some(Typed::Message(message)),
                Step::TooLong => return Some(Typed::TooLong),
                Step::GoesOn(more) => begun = Some(more),
            }
        }
    }
}

/// Answers every question by a line, until there are no more of either.
fn each(
    asking: &Receiver<&'static str>,
    sender: &mpsc::Sender<Read>,
    mut line: impl FnMut(&'static str) -> Option<Read>,
) {
    for prompt in asking {
        let Some(line) = line(prompt) else { return };
        if sender.blocking_send(line).is_err() {
            return;
        }
    }
}

/// What `line` makes of the message that was begun, if one was.
fn go_on(begun: Option<Begun>, line: &str) -> Step {
    let (mut begun, line) = match begun {
        Some(begun) => (begun, line),
        None => match line.trim_start().strip_prefix(FENCE) {
            Some(rest) => (Begun { is_fenced: true, ..Begun::default() }, rest),
            None => (Begun::default(), line),
        },
    };
    let (rest, is_end) = match (begun.is_fenced, line.trim_end().strip_suffix(FENCE), line.strip_suffix('\\')) {
        (true, Some(rest), _) => (rest, true),
        (false, _, Some(rest)) => (rest, false),
        (is_fenced, ..) => (line, !is_fenced),
    };
    begun.text.push_str(rest);
    if begun.text.len() >= PROMPT_BYTES_MAX {
        return Step::TooLong;
    }
    if is_end {
        return Step::Ends(begun.text);
    }
    begun.text.push('\n');
    Step::GoesOn(begun)
}

/// A line of a pipe.
fn line_of(source: &mut impl BufRead) -> Option<Read> {
    let mut bytes = Vec::new();
    let limit = PROMPT_BYTES_MAX as u64 + 1;
    let read = io::Read::take(&mut *source, limit).read_until(b'\n', &mut bytes);
    if read.ok()? == 0 {
        return None;
    }
    if bytes.len() > PROMPT_BYTES_MAX {
        // The rest of it is no message either.
        source.skip_until(b'\n').ok()?;
        return Some(Read::TooLong);
    }
    let text = String::from_utf8_lossy(&bytes);
    Some(Read::Line(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A terminal with a history.
struct Terminal {
    editor: Editor<(), DefaultHistory>,
    history: Option<PathBuf>,
}

impl Terminal {
    fn open(history: Option<PathBuf>) -> Result<Self, ReadlineError> {
        // The terminal itself, so that stdout has answers alone wherever it goes.
        let config = Config::builder().max_history_size(CHAT_HISTORY_LINES_MAX)?.behavior(Behavior::PreferTerm).build();
        let mut editor = Editor::with_config(config)?;
        if let Some(path) = &history {
            // There is none before the first time.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    fn line(&mut self, prompt: &'static str) -> Option<Read> {
        match self.editor.readline(prompt) {
            Ok(line) if line.len() > PROMPT_BYTES_MAX => Some(Read::TooLong),
            Ok(line) => {
                self.remember(&line);
                Some(Read::Line(line))
            }
            Err(ReadlineError::Interrupted) => Some(Read::Interrupted),
            // The end, or a terminal that is gone.
            Err(_) => None,
        }
    }

    /// A history that cannot be kept is no reason not to talk.
    fn remember(&mut self, line: &str) {
        let Some(path) = &self.history else { return };
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if is_new && path.parent().is_none_or(is_made) {
            let _ = self.editor.append_history(path);
        }
    }
}

fn is_made(folder: &Path) -> bool {
    fs::create_dir_all(folder).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn messages(lines: &[&str]) -> Vec<String> {
        let (mut begun, mut all) = (None, Vec::new());
        for line in lines {
            match go_on(begun.take(), line) {
                Step::Ends(message) => all.push(message),
                Step::GoesOn(more) => begun = Some(more),
                Step::TooLong => panic!("{lines:?}"),
            }
        }
        assert_eq!(begun, None, "{lines:?}");
        all
    }

    #[test]
    fn messages_have_several_lines_where_that_is_said() {
        assert_eq!(messages(&["one", "two"]), ["one", "two"]);
        assert_eq!(messages(&["one\\", "two\\", "three", "four"]), ["one\ntwo\nthree", "four"]);
        assert_eq!(messages(&["\"\"\"one", "two\\", "three\"\"\" ", "four"]), ["one\ntwo\\\nthree", "four"]);
        assert_eq!(messages(&["  \"\"\"", "a \"quoted\" word", "\"\"\""]), ["\na \"quoted\" word\n"]);
        assert_eq!(messages(&["\"\"\"all of it\"\"\""]), ["all of it"]);
    }

    #[test]
    fn a_message_of_many_lines_is_bounded_as_one_of_one() {
        let line = "x".repeat(1 << 20);
        let mut begun = Some(Begun { is_fenced: true, ..Begun::default() });
        let mut lines = 0;
        while let Step::GoesOn(more) = go_on(begun.take(), &line) {
            begun = Some(more);
            lines += 1;
        }
        assert_eq!((lines, begun), (PROMPT_BYTES_MAX / line.len() - 1, None));
    }

    #[test]
    fn lines_of_a_pipe_end_and_are_bounded() {
        let mut source =
            io::Cursor::new([b"one\r\n\xff\n".as_slice(), &vec![b'x'; PROMPT_BYTES_MAX + 1], b"\nlast"].concat());
        let mut next = || line_of(&mut source);
        assert_eq!((next(), next()), (Some(Read::Line("one".into())), Some(Read::Line("\u{fffd}".into()))));
        assert_eq!((next(), next(), next()), (Some(Read::TooLong), Some(Read::Line("last".into())), None));
    }

    #[test]
    fn the_history_is_its_users_alone_and_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/chat_history");
        for _ in 0..2 {
            let mut terminal = Terminal::open(Some(path.clone())).unwrap();
            (0..CHAT_HISTORY_LINES_MAX).for_each(|number| terminal.remember(&format!("line {number}")));
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let kept = text.lines().filter(|line| line.starts_with("line ")).count();
        assert_eq!(kept, CHAT_HISTORY_LINES_MAX, "of twice as many");
        let mut silent = Terminal::open(None).unwrap();
        silent.remember("secret");
        assert!(!fs::read_to_string(&path).unwrap().contains("secret"));
    }
}
