//! The report as one page that needs nothing else: tables, charts, and no script.
//!
//! Invariants: every name and sentence is escaped; what is modelled says so; losses have a colour of their own and stand
//! at the top. Deliberately absent: anything that is fetched.

use meter::savings::{Comparison, Verdict};

use super::arms::Arm;
use super::chart::{Bar, Line, bars, cumulative, escaped, lines};
use super::figures::{Figures, Percentiles};
use super::report::{Report, gb_hours, megabytes, servers_for, verdict};
use crate::cli::output::{figure, seconds_text};
use crate::cli::receipt::money;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--faint:#d7dce2;--a0:#0a7d5a;--a1:#2f6fd0;--a2:#b4561c;--loss:#c0243a}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--paper:#14171a;--faint:#363c44;--a0:#4ecb9c;--a1:#7fb0ff;--a2:#f0a06a;--loss:#ff7285}}
body{margin:2rem auto;max-width:60rem;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--faint);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
figure{margin:1rem 0;max-width:42rem}figcaption{font-weight:600}svg{width:100%;height:auto}
text{font:11px system-ui,sans-serif;fill:var(--ink)}.grid{stroke:var(--faint);fill:none}.line{fill:none;stroke-width:1.8}
.line.a0{stroke:var(--a0)}.line.a1{stroke:var(--a1)}.line.a2{stroke:var(--a2)}.line.cold{stroke:var(--loss)}
rect.a0{fill:var(--a0)}rect.a1{fill:var(--a1)}rect.a2{fill:var(--a2)}rect.loss{fill:var(--loss)}
.key{margin-right:1.2rem}.key::before{content:'\\25A0';margin-right:.35rem}
.key.a0::before{color:var(--a0)}.key.a1::before{color:var(--a1)}.key.a2::before{color:var(--a2)}.key.cold::before{color:var(--loss)}
.loss{color:var(--loss);font-weight:600}.how{opacity:.75}";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let names: Vec<&str> = report.models.iter().map(|model| model.name.as_str()).collect();
    let title = escaped(&format!("dayfly bench pools: {}", names.join(", ")));
    let body: String = [
        head(report),
        warnings(report),
        section("What was saved", &savings(report)),
        section("What each arm took", &(arms(report) + &resource_charts(report))),
        section("Memory over time", &memory_chart(report)),
        section("Time to the first token", &(latencies(report) + &latency_chart(report))),
        section("By tenant, from the ephemeral arm's ledger", &tenants(report)),
        section("Predicted, and really run", &predictions(report)),
        section("How it was come by", &notes(report)),
    ]
    .concat();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>{body}</body></html>\n"
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<h2>{}</h2>{content}", escaped(title))
}

fn head(report: &Report) -> String {
    let (workload, machine) = (&report.workload, &report.machine);
    let text = format!(
        "{} requests ({}, seed {}) of {} tenants, {} in each arm, which were run one after another; ephemeral models stay {}. \
         {} processors, {} GB of memory, {} threads ({}).",
        workload.requests.len(),
        workload.kind,
        workload.seed,
        workload.tenants,
        seconds_text(report.window_seconds),
        workload.keep_alive,
        machine.processors,
        figure(megabytes(machine.memory_bytes) / 1e3),
        machine.threads,
        machine.isa
    );
    format!("<p>{}</p><p>{}</p>", escaped(&text), escaped(&report.price()))
}

fn warnings(report: &Report) -> String {
    report.warnings().iter().map(|line| format!("<p class=\"loss\">{}</p>", escaped(line))).collect()
}

/// A table of text; a row that is about a loss has its colour.
fn table(head: &[&str], rows: impl IntoIterator<Item = (bool, Vec<String>)>) -> String {
    let head: String = head.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    let row = |(is_loss, cells): (bool, Vec<String>)| {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        format!("<tr{}>{cells}</tr>", if is_loss { " class=\"loss\"" } else { "" })
    };
    let rows: String = rows.into_iter().map(row).collect();
    format!("<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>")
}

fn class(arm: Arm) -> &'static str {
    match arm {
        Arm::Ephemeral => "a0",
        Arm::SharedPersistent => "a1",
        Arm::Dedicated => "a2",
    }
}

fn cost(amount: Option<f64>, currency: &str) -> String {
    amount.map_or("unknown".into(), |amount| money(amount, currency))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0))
}

fn savings(report: &Report) -> String {
    let currency = &report.ledger_savings.currency;
    let head =
        ["against", "memory (measured)", "", "processor time (measured)", "energy (modelled)", "cost", "", "verdict"];
    let rows = report.measured_savings.iter().map(|saved| {
        let cells = vec![
            saved.against.name().into(),
            gb_hours(saved.memory_gb_hours),
            percent(saved.memory_share),
            format!("{} s", figure(saved.cpu_seconds)),
            format!("{} J", figure(saved.joules)),
            cost(saved.cost, currency),
            percent(saved.cost_share),
            verdict(saved.verdict).into(),
        ];
        (saved.verdict == Verdict::Loss, cells)
    });
    let bar = |saved: &super::compare::Saved| Bar {
        name: format!("against {}", saved.against.name()),
        class: if saved.memory_gb_hours < 0.0 { "loss" } else { "a0" },
        value: saved.memory_gb_hours,
        shown: gb_hours(saved.memory_gb_hours),
    };
    let chart: Vec<Bar> = report.measured_savings.iter().map(bar).collect();
    table(&head, rows) + &bars("Memory saved (measured); below nothing is a loss", &chart)
}

fn arms(report: &Report) -> String {
    let head = [
        "arm",
        "processes",
        "memory (measured)",
        "peak",
        "processor time (measured)",
        "before the window",
        "energy (modelled)",
        "cost",
        "by the ledger",
        "processors busy",
        "weights in use",
    ];
    let rows = report.arms.iter().map(|arm| {
        let cells = vec![
            arm.arm.name().into(),
            arm.processes.to_string(),
            gb_hours(arm.memory.gb_hours),
            format!("{} MB", figure(megabytes(arm.memory.peak_bytes))),
            format!("{} s", figure(arm.cpu.seconds)),
            format!("{} s", figure(arm.cpu.before_seconds)),
            format!("{} J", figure(arm.energy.joules)),
            cost(arm.cost.amount, &arm.cost.currency),
            gb_hours(arm.ledger.gb_hours),
            percent(Some(arm.utilisation.processors_busy_share)),
            percent(arm.utilisation.weights_in_use_share),
        ];
        (false, cells)
    });
    table(&head, rows)
}

fn resource_charts(report: &Report) -> String {
    let chart = |title: &str, of: fn(&Figures) -> (f64, String)| {
        let bar = |arm: &Figures| {
            let (value, shown) = of(arm);
            Bar { name: arm.arm.name().into(), class: class(arm.arm), value, shown }
        };
        bars(title, &report.arms.iter().map(bar).collect::<Vec<_>>())
    };
    [
        chart("Memory over time (measured)", |arm| (arm.memory.gb_hours, gb_hours(arm.memory.gb_hours))),
        chart("Energy (modelled)", |arm| (arm.energy.joules, format!("{} J", figure(arm.energy.joules)))),
        chart("Cost (nominal, by the rate card)", |arm| {
            (arm.cost.amount.unwrap_or(f64::NAN), cost(arm.cost.amount, &arm.cost.currency))
        }),
    ]
    .concat()
}

#[expect(clippy::cast_precision_loss, reason = "a point of a line")]
fn memory_chart(report: &Report) -> String {
    let line = |arm: &Figures| Line {
        name: arm.arm.name().into(),
        class: class(arm.arm),
        points: arm.pss_over_time.iter().map(|&(at, bytes)| (at, bytes as f64 / 1e6)).collect(),
    };
    let all: Vec<Line> = report.arms.iter().map(line).collect();
    lines("Proportional set size of all servers (measured)", &all, ("seconds", "MB"))
}

fn latencies(report: &Report) -> String {
    let head =
        ["arm", "answered", "failed", "unsent", "tokens/s", "warm", "p50", "p95", "p99", "cold", "p50", "p95", "p99"];
    let rows = report.arms.iter().map(|arm| {
        let requests = &arm.requests;
        let mut cells = vec![
            arm.arm.name().into(),
            requests.completed.to_string(),
            requests.failed.to_string(),
            requests.unsent.to_string(),
            figure(arm.tokens.completion_per_second),
        ];
        cells.extend(percentiles(arm.first_token_ms.warm));
        cells.extend(percentiles(arm.first_token_ms.cold));
        (requests.failed + requests.unsent > 0, cells)
    });
    format!("<p class=\"how\">Milliseconds, measured by the client.</p>{}", table(&head, rows))
}

fn percentiles(of: Option<Percentiles>) -> [String; 4] {
    match of {
        Some(Percentiles { count, p50, p95, p99 }) => [count.to_string(), figure(p50), figure(p95), figure(p99)],
        None => ["0", "-", "-", "-"].map(str::to_owned),
    }
}

fn latency_chart(report: &Report) -> String {
    let of = |arm: &Figures, is_cold: bool| {
        cumulative(arm.first_tokens.iter().filter(|one| one.1 == is_cold).map(|one| one.0).collect())
    };
    let mut all: Vec<Line> = report
        .arms
        .iter()
        .map(|arm| Line { name: format!("{}, warm", arm.arm.name()), class: class(arm.arm), points: of(arm, false) })
        .collect();
    let cold = report.arms.iter().map(|arm| (arm, of(arm, true))).filter(|(_, points)| !points.is_empty());
    all.extend(cold.map(|(arm, points)| Line { name: format!("{}, cold", arm.arm.name()), class: "cold", points }));
    lines("Share of the requests that had their first token by then", &all, ("milliseconds", "%"))
}

fn tenants(report: &Report) -> String {
    let head = ["tenant", "ephemeral", "one shared copy", "verdict", "a copy of its own", "verdict", "if a loss"];
    let rows = report.ledger_savings.tenants.iter().map(|tenant| {
        let savings = &tenant.savings;
        let memory = |comparison: &Comparison| gb_hours(comparison.baseline.gb_hours);
        let both = [&savings.shared_persistent, &savings.dedicated];
        let remedies: Vec<&str> = both.iter().filter_map(|one| one.judged.remedy.as_deref()).collect();
        let cells = vec![
            tenant.tenant.clone().unwrap_or_else(|| "(nobody)".into()),
            gb_hours(savings.ephemeral.gb_hours),
            memory(both[0]),
            verdict(both[0].judged.verdict).into(),
            memory(both[1]),
            verdict(both[1].judged.verdict).into(),
            remedies.join("; "),
        ];
        (both.iter().any(|one| one.judged.verdict == Verdict::Loss), cells)
    });
    table(&head, rows)
}

fn predictions(report: &Report) -> String {
    let head = [
        "arm",
        "weights (derived)",
        "processes (measured before)",
        "keys and values",
        "predicted",
        "measured",
        "servers there for, predicted of measured",
        "predicted / measured",
        "within 10 %",
    ];
    let rows = report.predictions.iter().map(|one| {
        let cells = vec![
            one.arm.name().into(),
            gb_hours(one.weights_gb_hours),
            gb_hours(one.overhead_gb_hours),
            gb_hours(one.key_value_gb_hours),
            gb_hours(one.predicted_gb_hours),
            gb_hours(one.measured_gb_hours),
            servers_for(one),
            one.ratio.map_or("-".into(), figure),
            if one.within_10_percent { "yes" } else { "NO" }.into(),
        ];
        (!one.within_10_percent, cells)
    });
    table(&head, rows)
}

fn notes(report: &Report) -> String {
    let ephemeral = report.arms.iter().map(|arm| &arm.energy).next();
    let energy = ephemeral.map(|energy| {
        let uncertainty = energy.relative_uncertainty * 100.0;
        format!("energy: {} ({}, ±{uncertainty:.0} %)", energy.source, energy.quality.name())
    });
    let prices = format!("prices: {} ({})", report.ledger_savings.rate_card, report.ledger_savings.currency);
    let receipts = report.arms.iter().flat_map(|arm| &arm.ledger.energy_source).next();
    let receipts = receipts.map(|source| format!("energy on receipts: {source}"));
    let all = report.notes.iter().map(|note| (*note).to_owned()).chain(energy).chain([prices]).chain(receipts);
    format!("<ul>{}</ul>", all.map(|note| format!("<li>{}</li>", escaped(&note))).collect::<String>())
}
