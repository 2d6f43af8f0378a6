//! What help shows of each command: lines that can be typed as they stand.
//!
//! Invariants: every command that does something has one, and each of them is understood by the command line (a test of both).

use clap::Command;

/// A command, and lines that begin with it or lead to it.
type Shown = (&'static str, &'static [&'static str]);

/// Of each command, under the words that call it.
const EXAMPLES: &[Shown] = &[
    (
        "serve",
        &[
            "dayfly serve",
            "dayfly serve --listen 127.0.0.1:0 --memory-budget 4GiB --keep-alive 1h",
            "dayfly serve --exit-when-idle 10m --log-format json",
        ],
    ),
    (
        "run",
        &[
            "dayfly run smollm2 \"What is a mayfly?\"",
            "dayfly run smollm2 < question.txt",
            "dayfly run smollm2 \"Name a river.\" --temperature 0 --max-tokens 16 --json",
            "dayfly run smollm2 \"The capital of France is\" --complete --max-tokens 8",
        ],
    ),
    (
        "chat",
        &[
            "dayfly chat smollm2",
            "dayfly chat smollm2 --system \"Be brief.\" --quiet",
            "dayfly chat smollm2 < lines.txt",
        ],
    ),
    (
        "pull",
        &[
            "dayfly pull smollm2",
            "dayfly pull hf:HuggingFaceTB/SmolLM2-135M-Instruct",
            "dayfly pull file:/srv/models/some.gguf",
        ],
    ),
    ("list", &["dayfly list", "dayfly ls --json"]),
    ("show", &["dayfly show smollm2", "dayfly show ./some.gguf --json"]),
    ("rm", &["dayfly rm smollm2", "dayfly rm smollm2 minilm --yes"]),
    ("usage", &["dayfly usage --since 30d --by day", "dayfly usage --by key --tenant acme --json"]),
    ("savings", &["dayfly savings --since 24h", "dayfly savings --baseline dedicated --json"]),
    (
        "export",
        &[
            "dayfly export --format focus > bill.csv",
            "dayfly export --format csv --since 7d > requests.csv",
            "dayfly export --format json > trace.jsonl",
        ],
    ),
    (
        "replay",
        &[
            "dayfly replay trace.jsonl --policy keep_alive=5m --policy keep_alive=1h,budget=2GiB,pin=smollm2",
            "dayfly replay - --policy keep_alive=0",
        ],
    ),
    ("ledger verify", &["dayfly ledger verify", "dayfly ledger verify --ledger copy.sqlite --json"]),
    ("ps", &["dayfly ps", "dayfly ps --all", "dayfly ps --json --server http://127.0.0.1:8787"]),
    ("stop", &["dayfly stop smollm2"]),
    ("load", &["dayfly load smollm2", "dayfly load smollm2 --keep-alive 1h"]),
    ("pin", &["dayfly pin smollm2"]),
    ("unpin", &["dayfly unpin smollm2"]),
    (
        "context add",
        &[
            "dayfly context add smollm2 manual.txt",
            "dayfly context add smollm2 rules.txt --system --name rules",
            "dayfly context add smollm2 - --name manual < manual.txt",
        ],
    ),
    ("context list", &["dayfly context list", "dayfly context list --json"]),
    ("context rm", &["dayfly context rm manual"]),
    ("doctor", &["dayfly doctor", "dayfly doctor --json"]),
    ("health", &["dayfly health", "dayfly health --server http://127.0.0.1:8787"]),
    (
        "key create",
        &[
            "dayfly key create --tenant research --budget \"5 USD/day\" --requests-per-second 5",
            "dayfly key create --tenant ops --scope admin --scope read --name deploy",
            "dayfly key create --tenant guest --model \"smol*\" --tokens-per-minute 20000 --json",
        ],
    ),
    ("key list", &["dayfly key list", "dayfly key list --tenant research --json"]),
    ("key revoke", &["dayfly key revoke key_0123456789abcdef"]),
    ("demo", &["dayfly demo", "dayfly demo --keep", "dayfly demo --quiet 0 --json"]),
    ("claims", &["dayfly claims", "dayfly claims --quick --only 1,5,6 --json"]),
    (
        "bench run",
        &["dayfly bench run smollm2", "dayfly bench run smollm2 --prompt 512 --gen 128 --depth 0,512 --json"],
    ),
    (
        "bench pools",
        &[
            "dayfly bench pools",
            "dayfly bench pools smollm2 gemma3-270m --workload bursty --rate 1 --tenants 8 --report pools.html",
            "dayfly bench pools --trace azure.csv --speedup 20 --token-scale 0.1 --duration 120",
        ],
    ),
    (
        "bench serve",
        &[
            "dayfly bench serve smollm2 --streams 8 --requests 64",
            "dayfly bench serve smollm2 --rate 2 --duration 30 --json",
        ],
    ),
    ("bench perplexity", &["dayfly bench perplexity smollm2 text.txt --ctx 512 --chunks 4"]),
    ("config check", &["dayfly config check", "dayfly config check dayfly.toml --json"]),
    ("config show", &["dayfly config show", "dayfly config show --config dayfly.toml"]),
    ("completions", &["source <(dayfly completions bash)", "dayfly completions fish > dayfly.fish"]),
    ("man", &["dayfly man | man -l -", "dayfly man key create | man -l -", "dayfly man --dir man1"]),
];

/// What stands below the lines: all of this is told in one place.
const REST: &str = "Configuration, environment variables and exit statuses: dayfly --help";

/// The lines of the command that `words` call.
pub(super) fn lines(words: &str) -> Option<&'static [&'static str]> {
    EXAMPLES.iter().find(|(of, _)| *of == words).map(|(_, lines)| *lines)
}

/// The command with its lines in the help of each of its own.
pub(super) fn shown_in(command: Command) -> Command {
    of_commands_of(command, "")
}

fn of_commands_of(mut command: Command, words: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let words = if words.is_empty() { name.clone() } else { format!("{words} {name}") };
        command = command.mut_subcommand(name, |sub| of_commands_of(sub, &words));
    }
    match lines(words) {
        Some(lines) => command.after_help(format!("Examples:\n  {}\n\n{REST}", lines.join("\n  "))),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// The words of a line of a shell, as far as it calls dayfly.
    fn words(line: &str) -> Vec<String> {
        let called = &line[line.find("dayfly").unwrap()..];
        let called = called.split([')', '|', '<', '>']).next().unwrap();
        let mut words = Vec::new();
        for (number, part) in called.split('"').enumerate() {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }

    fn leaves(command: &Command, words: &str, found: &mut Vec<String>) {
        let mut subs = command.get_subcommands().peekable();
        if subs.peek().is_none() {
            found.push(words.to_owned());
        }
        for sub in subs {
            leaves(sub, format!("{words} {}", sub.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_command_shows_lines_that_are_understood() {
        let mut commands = Vec::new();
        leaves(&Cli::command(), "", &mut commands);
        let shown: Vec<&str> = EXAMPLES.iter().map(|(of, _)| *of).collect();
        for command in &commands {
            assert!(shown.contains(&command.as_str()), "{command} has no example");
        }
        assert_eq!(shown.len(), commands.len(), "an example of no command");
        for (of, lines) in EXAMPLES {
            for line in *lines {
                assert!(line.len() < 98, "it is not broken where no terminal says how wide it is: {line}");
                let words = words(line);
                let parsed = shown_in(Cli::command()).try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                let matches = parsed.unwrap();
                let first = matches.subcommand_name().unwrap();
                assert!(of.starts_with(first), "{line} is no example of {of}");
            }
        }
    }

    #[test]
    fn help_shows_them() {
        let mut command = shown_in(Cli::command());
        command.build();
        let create = command.find_subcommand_mut("key").and_then(|key| key.find_subcommand_mut("create")).unwrap();
        let help = create.render_help().to_string();
        assert!(
            help.contains("Examples:\n  dayfly key create --tenant") && help.ends_with(&format!("{REST}\n")),
            "{help}"
        );
    }
}
