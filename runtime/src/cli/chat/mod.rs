//! `dayfly chat`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::Value;
use tokio::sync::mpsc;

use super::ask::{Prompt, Wishes, ask, message};
use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on};
use super::output;
use super::reach::{self, Reached};
use super::run::{not_found, show, shown_in};

/// Lines that wait while an answer is given.
const LINES_WAITING_MAX: usize = 16;

/// Talk with a model, line by line. /clear forgets what was said, /bye ends, Ctrl-C breaks an answer off.
#[derive(Args, Debug)]
pub(super) struct Chat {
    /// A name or alias of `dayfly list`, or a known model
    model: String,
    #[command(flatten)]
    wishes: Wishes,
    #[command(flatten)]
    server: ServerFlags,
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    Nothing,
    Bye,
    Clear,
    Unknown,
    Question(&'a str),
}

impl Chat {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            let reached = reach::running_or_own(context, &self.server, &self.model).await?;
            let ended = self.talk(context, &reached).await;
            reached.close().await;
            ended
        })
    }

    async fn talk(&self, context: &Context, reached: &Reached) -> Result<(), Failure> {
        let mut lines = lines_of_stdin();
        let mut history: Vec<Value> = Vec::new();
        loop {
            invite();
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(line) = line else { return Ok(()) };
            match said(&line) {
                Said::Nothing => {}
                Said::Bye => return Ok(()),
                Said::Clear => history.clear(),
                Said::Unknown => output::note("only /clear and /bye are known"),
                Said::Question(question) => self.answer(context, reached, &mut history, question).await?,
            }
        }
    }

    /// Answers, and remembers both. An answer that failed or was broken off leaves no trace in the history.
    async fn answer(
        &self,
        context: &Context,
        reached: &Reached,
        history: &mut Vec<Value>,
        question: &str,
    ) -> Result<(), Failure> {
        history.push(message("user", question));
        let prompt = Prompt::Messages(history);
        let format = context.format();
        let asked = tokio::select! {
            asked = ask(&reached.client, &self.wishes, (&self.model, prompt), shown_in(format)) => asked,
            _ = tokio::signal::ctrl_c() => {
                history.pop();
                output::note("\n(broken off)");
                return Ok(());
            }
        };
        match asked {
            Ok(answer) => {
                history.push(message("assistant", &answer.text));
                show(&self.model, &answer, format)
            }
            Err(error) if error.is_model_not_found() => Err(not_found(reached, &self.model, error).await),
            Err(error) => match Failure::from(error) {
                failure @ Failure::Failed(_) => {
                    history.pop();
                    failure.tell();
                    Ok(())
                }
                failure => Err(failure),
            },
        }
    }
}

fn said(line: &str) -> Said<'_> {
    match line.trim() {
        "" => Said::Nothing,
        "/bye" => Said::Bye,
        "/clear" => Said::Clear,
        line if line.starts_with('/') => Said::Unknown,
        line => Said::Question(line),
    }
}

/// Shows that it is the user's turn, where a user sits.
fn invite() {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr();
        // Nobody to invite if stderr is closed.
        let _ = write!(stderr, ">>> ").and_then(|()| stderr.flush());
    }
}

/// Lines as they are typed. A thread of its own, for reading a terminal cannot be broken off; it ends with the process.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_or_commands() {
        assert_eq!(said("  \t"), Said::Nothing);
        assert_eq!(said(" /bye "), Said::Bye);
        assert_eq!(said("/clear"), Said::Clear);
        assert_eq!(said("/help"), Said::Unknown);
        assert_eq!(said(" what is / ? "), Said::Question("what is / ?"));
    }
}
