//! The commands: what the user says, and what is shown.
//!
//! Data goes to stdout, everything else to stderr; with `--json`, stdout carries JSON alone. A reader of stdout that goes
//! away ends a command quietly. Deliberately absent: any way to a model that does not pass a server, but for `bench`,
//! which measures the arithmetic alone.

mod ask;
mod bench;
mod chat;
mod claims;
mod complete;
mod config;
mod contexts;
mod demo;
mod doctor;
mod examples;
mod export;
mod failure;
mod flags;
mod health;
mod keys;
mod ledger;
mod list;
mod load;
mod man;
mod names;
mod output;
mod ps;
mod pull;
mod reach;
mod receipt;
mod replay;
mod rm;
mod run;
mod savings;
mod serve;
mod show;
mod stop;
#[cfg(test)]
mod tests;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::failure::Failure;
use self::flags::{Context, Global};
use crate::config::{Choice, Environment};
use crate::logging::{Log, LogFormat, tell_panics};

/// An ephemeral model-serving runtime: models are in memory while they are used, and every request gets its receipt.
#[derive(Debug, Parser)]
#[command(name = "dayfly", version, after_help = AFTER_HELP, after_long_help = after_long_help(), max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Run(run::Run),
    Chat(chat::Chat),
    Pull(pull::Pull),
    #[command(visible_alias = "ls")]
    List(list::List),
    Show(show::Show),
    Rm(rm::Rm),
    Usage(usage::Usage),
    Savings(savings::Savings),
    Export(export::Export),
    Replay(replay::Replay),
    /// Check the record of what every request used
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    Ps(ps::Ps),
    #[command(visible_alias = "unload")]
    Stop(stop::Stop),
    Load(load::Load),
    Pin(load::Pin),
    Unpin(load::Unpin),
    #[command(subcommand)]
    Context(contexts::ContextCommand),
    Doctor(doctor::Doctor),
    Health(health::Health),
    #[command(subcommand)]
    Key(keys::KeyCommand),
    Demo(demo::Demo),
    Claims(Box<claims::Claims>),
    /// Measure a model on this machine, or a server
    #[command(subcommand)]
    Bench(bench::Bench),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Completions(complete::Completions),
    Man(man::Man),
}

const AFTER_HELP: &str = "Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 no such model, \
                          4 no server, 5 not allowed, 130 interrupted, 143 terminated. More with --help.";

fn after_long_help() -> String {
    format!("Configuration:\n{CONFIGURATION}\n\nEnvironment:\n{}\n\nExit status:\n{EXIT}", variables())
}

/// What the environment may say, and what that means.
fn variables() -> String {
    let known = crate::config::VARIABLES.iter().copied().chain([("NO_COLOR", "no colours")]);
    known.map(|(name, meaning)| format!("  {name:<24} {meaning}")).collect::<Vec<_>>().join("\n")
}

const CONFIGURATION: &str = "\
Flags win over the environment, that over the file, that over the defaults. The file is TOML, by
default dayfly/config.toml in the user's configuration folder; keys that are not known are
refused. What it can say (`dayfly config show` prints all of it, with the values that count and
where each is from):

  listen = \"127.0.0.1:8787\"        # other than loopback needs keys
  models_dirs = [\"models\"]         # relative to this file; pulls go to the first
  ledger = \"ledger.sqlite\"
  ledger_retention = \"90d\"         # older rows make way for their sums; without it all are kept
  descriptors_dir = \"descriptors\"  # tokenizers between runs, for cold starts; may be lost
  memory_budget = \"700MiB\"         # weights and key-value caches together
  ctx_max = 4096                   # positions of a sequence
  threads = 2
  isa = \"avx2\"                     # or avx512, avxvnni, scalar; without it the best there is
  keep_alive = \"5m\"                # 0 unloads after the answer, -1 never
  exit_when_idle = \"10m\"           # `serve` ends when unused for so long; never without it
  log = \"info\"                     # or dayfly=debug and the like
  links = \"confined\"               # or followed: links may lead out of the models directories
  pull = \"on-first-use\"            # or never
  hosts = [\"models.example\"]       # names that requests may address, beside this machine's
  origins = [\"https://app.example\"] # web pages that may ask
  anonymous = \"auto\"               # who shows no key: let in on loopback; or served, refused
  [aliases]
  small = \"SmolLM2-135M-Instruct.Q4_1\"
  [chat_templates]                 # instead of the file's: chatml, gemma, llama2 … or a file
  small = \"chatml\"
  [contexts]                       # texts that are computed once for everyone
  dir = \"contexts\"
  disk_max = \"4GiB\"
  [tenants.acme]                   # also models, requests_per_second, tokens_per_minute
  publishes_contexts = true        # beside whoever administers
  budgets = [\"5 USD/day\"]          # tokens, a currency, GBh, J or gCO2e by hour, day or month
  [[keys]]                         # beside those of `dayfly key`; printf %s KEY | sha256sum
  tenant = \"acme\"
  sha256 = \"…\"
  scopes = [\"inference\", \"read\"]   # what a key is for; admin, too
  [energy]
  design_watts = 65                # of all processors: judges sensors, models the unknown
  [carbon]                         # place (such as DE), or grams_per_kwh with source; and pue
  place = \"World\"
  [rates]                          # prices; one that is missing makes costs unknown
  currency = \"USD\"
  cpu_hour = 0.031611
  memory_gb_hour = 0.004237        # also kilowatt_hour, name, prompt_token, cached_token …";

const EXIT: &str = "  0    done
  1    failed
  2    wrong usage or configuration
  3    no such model
  4    no server answers
  5    the key is missing, wrong, or not for that
  130  interrupted (SIGINT); a server ends well by it
  143  terminated (SIGTERM); a server ends well by it";

/// The program.
pub(crate) fn main() -> ExitCode {
    complete::answer_shell();
    let environment = Environment::of_process();
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    let log = match log_to_stderr(&cli.command, &environment) {
        Ok(log) => log,
        Err(failure) => {
            failure.tell();
            return ExitCode::from(failure.exit_code());
        }
    };
    let context = Context { global: cli.global, environment, log };
    match dispatch(&cli.command, &context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The command line, with examples in its help.
fn command() -> clap::Command {
    examples::shown_in(Cli::command())
}

/// Prints help that was asked for, or what is wrong with the line.
fn told(error: &clap::Error) -> ExitCode {
    let printed = error.print().map_err(Failure::of_stdout);
    match printed {
        Err(failure @ Failure::Failed(_)) if !error.use_stderr() => {
            failure.tell();
            ExitCode::from(failure.exit_code())
        }
        // Nobody to tell if this cannot be printed.
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE)),
    }
}

fn dispatch(command: &Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve.run(context),
        Command::Run(run) => run.run(context),
        Command::Chat(chat) => chat.run(context),
        Command::Pull(pull) => pull.run(context),
        Command::List(list) => list.run(context),
        Command::Show(show) => show.run(context),
        Command::Rm(rm) => rm.run(context),
        Command::Usage(usage) => usage.run(context),
        Command::Savings(savings) => savings.run(context),
        Command::Export(export) => export.run(context),
        Command::Replay(replay) => replay.run(context),
        Command::Ledger(ledger) => ledger.run(context),
        Command::Ps(ps) => ps.run(context),
        Command::Stop(stop) => stop.run(context),
        Command::Load(load) => load.run(context),
        Command::Pin(pin) => pin.run(context),
        Command::Unpin(unpin) => unpin.run(context),
        Command::Context(command) => command.run(context),
        Command::Doctor(doctor) => doctor.run(context),
        Command::Health(health) => health.run(context),
        Command::Key(command) => command.run(context),
        Command::Demo(demo) => demo.run(context),
        Command::Claims(claims) => claims.run(context),
        Command::Bench(bench) => bench.run(context),
        Command::Config(command) => command.run(context),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// What commands log that are no server. Refusals are not among it: the command itself tells of them.
const WHAT_IS_WRONG: &str = "warn,dayfly::http::error=error";

/// A server tells what it does; other commands only what is wrong.
fn log_to_stderr(command: &Command, environment: &Environment) -> Result<Log, Failure> {
    let Command::Serve(serve) = command else { return Ok(Log::begin(WHAT_IS_WRONG, LogFormat::Text, environment)) };
    let format = serve.log_format().or(environment.log_format()?).map_or(LogFormat::Text, |Choice(format)| format);
    let log = Log::begin("info", format, environment);
    tell_panics();
    Ok(log)
}
