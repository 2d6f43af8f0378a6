//! `dayfly completions`, and what a shell is answered that asks what may follow.
//!
//! The scripts ask this binary, so that names of models are completed, too, and neither can be of another version than the
//! other for longer than a shell runs. An answer looks at the models directories and at no server. Whatever is wrong with
//! the configuration is not told here: then there are no names.

use clap::{Args, ValueEnum};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{ArgValueCandidates, CompletionCandidate};
use loader::catalog::Catalog;
use loader::pull::KNOWN;

use super::failure::Failure;
use super::{names, output};
use crate::config::{Config, Environment, Layer};

/// What a shell says that asks.
const VARIABLE: &str = "_DAYFLY_COMPLETE";
const NAME: &str = "dayfly";
/// zsh loads a file of its functions when it is first needed, and expects an answer of it then, too.
const ZSH_FIRST_TIME: &str = "if [ \"${funcstack[1]}\" = _dayfly ]; then _clap_dynamic_completer_dayfly \"$@\"; fi\n";

/// Print a script by which a shell completes dayfly's commands, flags and models
///
/// bash: source <(dayfly completions bash), in ~/.bashrc, or the same as a file in
/// ~/.local/share/bash-completion/completions. zsh: source <(dayfly completions zsh), behind compinit. fish:
/// dayfly completions fish > ~/.config/fish/completions/dayfly.fish
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let shell = match self.shell {
            Shell::Bash => "bash",
            Shell::Elvish => "elvish",
            Shell::Fish => "fish",
            Shell::Powershell => "powershell",
            Shell::Zsh => "zsh",
        };
        let builtins = Shells::builtins();
        let completer = builtins.completer(shell).expect("it is one of those that are built in");
        let mut script = Vec::new();
        let written = completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script);
        written.map_err(|error| Failure::Failed(error.into()))?;
        if self.shell == Shell::Zsh {
            script.extend_from_slice(ZSH_FIRST_TIME.as_bytes());
        }
        output::print(String::from_utf8_lossy(&script).trim_end())
    }
}

/// Answers a shell and ends the process, if it was a shell that asked.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(super::command).var(VARIABLE).bin(NAME).completer(NAME).complete();
}

/// Names of models that there are, or that can be pulled.
pub(super) fn models() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(names::of_catalog))
}

/// Names of models that can be pulled by them.
pub(super) fn known() -> ArgValueCandidates {
    ArgValueCandidates::new(|| KNOWN.iter().map(|known| known.alias.into()).collect())
}

/// Names of models that there are.
pub(super) fn models_here() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(|catalog| catalog.list().into_iter().map(|entry| entry.name).collect()))
}

/// Words that call commands.
pub(super) fn commands() -> ArgValueCandidates {
    ArgValueCandidates::new(|| super::command().get_subcommands().map(|sub| sub.get_name().to_owned().into()).collect())
}

fn candidates(names: impl FnOnce(&Catalog) -> Vec<String>) -> Vec<CompletionCandidate> {
    let config = Config::load(Layer::default(), None, &Environment::of_process());
    config.map_or_else(|_| Vec::new(), |config| names(&config.catalog()).into_iter().map(Into::into).collect())
}
