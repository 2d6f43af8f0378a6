//! Receipts as a table.

use std::time::Duration;

use meter::Receipt;

use super::output::{Column, figure, seconds_text, table};

/// A receipt with what only the client knows.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What the line is called; may be empty.
    pub(super) title: String,
    /// From the question to the first token.
    pub(super) first_token: Option<Duration>,
    /// The receipt.
    pub(super) receipt: Receipt,
}

/// One line for each receipt: what was measured, what is modelled, what it costs.
pub(super) fn receipts(lines: &[Line]) -> String {
    let has_titles = lines.iter().any(|line| !line.title.is_empty());
    let mut columns = vec![
        Column::Left("START"),
        Column::Right("FIRST TOKEN"),
        Column::Right("TOKENS IN+OUT"),
        Column::Right("TOKENS/S"),
        Column::Right("CPU"),
        Column::Right("MEMORY"),
        Column::Right("ENERGY"),
        Column::Right("COST"),
    ];
    if has_titles {
        columns.insert(0, Column::Left("REQUEST"));
    }
    let rows = lines.iter().map(|line| {
        let mut row = cells(line).to_vec();
        if has_titles {
            row.insert(0, line.title.clone());
        }
        row
    });
    table(&columns, rows)
}

/// The same in a line without headings.
pub(super) fn one_line(line: &Line) -> String {
    let [start, first_token, tokens, speed, cpu, _, energy, cost] = cells(line);
    format!(
        "{start}, first token after {first_token}, {tokens} tokens, {speed} tokens/s, {cpu} of processor, {energy}, {cost}"
    )
}

fn cells(line: &Line) -> [String; 8] {
    let Receipt { cold, tokens, times, cpu, memory, energy, cost, .. } = &line.receipt;
    let speed = if times.decode_ns.get() > 0 && tokens.completion > 1 {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let completion = tokens.completion as f64;
        figure(completion / times.decode_ns.seconds())
    } else {
        "-".into()
    };
    let energy =
        format!("{} J {} ±{:.0}%", figure(energy.joules), energy.quality.name(), energy.relative_uncertainty * 100.0);
    [
        if *cold { "cold" } else { "warm" }.into(),
        line.first_token.map_or("-".into(), |time| seconds_text(time.as_secs_f64())),
        format!("{}+{}", tokens.prompt, tokens.completion),
        speed,
        format!("{} s", figure(cpu.total_ns.seconds())),
        format!("{} GB·s", figure(memory.total().gb_seconds())),
        energy,
        cost.amount.map_or_else(|| "unknown".into(), |amount| money(amount, &cost.currency)),
    ]
}

/// An amount for people: in millionths where it is small.
pub(super) fn money(amount: f64, currency: &str) -> String {
    if amount.abs() < 0.01 && amount != 0.0 {
        format!("{} µ{currency}", figure(amount * 1e6))
    } else {
        format!("{} {currency}", figure(amount))
    }
}
