//! Data to stdout, everything else to stderr.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::failure::Failure;
use crate::config::Environment;

/// What stdout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Text for people.
    Text,
    /// JSON alone.
    Json,
}

/// A line of data.
pub(super) fn print(text: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Failure::of_stdout)
}

/// One JSON value, indented.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?)
}

/// One JSON value on a line of its own.
pub(super) fn print_json_line(value: &impl Serialize) -> Result<(), Failure> {
    print(serde_json::to_string(value).map_err(anyhow::Error::from)?)
}

/// A piece of an answer, shown at once. A terminal gets no control characters: what a model says is text, and no command.
pub(super) fn print_piece(piece: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let shown = if stdout.is_terminal() { harmless(piece) } else { Cow::Borrowed(piece) };
    stdout.write_all(shown.as_bytes())?;
    stdout.flush()
}

/// The text with something that shows in the place of control characters, but for those that end lines and columns.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let commands = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(commands) { text.replace(commands, "\u{fffd}").into() } else { text.into() }
}

/// A line that is no data. It does not matter whether anybody reads it.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The text less bright than others, where stderr is a terminal that may have colours.
pub(super) fn dimmed(text: &str, environment: &Environment) -> String {
    let is_coloured = io::stderr().is_terminal() && !environment.no_color();
    if is_coloured { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
}

/// How a column stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// Columns without lines, which both people and `awk` can read. Never wrapped.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| match column {
        Column::Left(name) | Column::Right(name) => *name,
    }));
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in columns.iter().enumerate() {
        if let (Column::Right(_), Some(shown)) = (column, table.column_mut(index)) {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    for shown in table.column_iter_mut() {
        shown.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// So many of something.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A figure with three significant digits, never in scientific notation.
pub(super) fn figure(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}");
    }
    let mut decimals = 0;
    let mut magnitude = value.abs();
    while magnitude < 99.95 && decimals < 15 {
        magnitude *= 10.0;
        decimals += 1;
    }
    format!("{value:.decimals$}")
}

/// A span for people.
pub(super) fn seconds_text(seconds: f64) -> String {
    if seconds < 1.0 { format!("{} ms", figure(seconds * 1e3)) } else { format!("{} s", figure(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_says_commands_no_terminal() {
        assert!(matches!(harmless("日本語\tand\n\"text\""), Cow::Borrowed(_)));
        assert_eq!(
            harmless("a\u{1b}]52;c;eA==\u{7}b\u{9b}1m\r\u{7f}"),
            "a\u{fffd}]52;c;eA==\u{fffd}b\u{fffd}1m\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn one_is_not_several() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "row")), ["0 rows", "1 row", "2 rows"]);
    }
}
