//! `dayfly run`

use std::io::{self, IsTerminal as _, Read as _};

use clap::Args;

use super::ask::{Answer, Prompt, Wishes, ask, message};
use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on, interrupted};
use super::output::{self, Format};
use super::reach::{self, Reached};
use super::receipt::{Line, receipts};
use super::{complete, names, ps};
use crate::client::ClientError;
use crate::limits::PROMPT_BYTES_MAX;

/// Ask a model one question; the answer goes to stdout, the receipt to stderr
///
/// A running server is used where there is one, else one is started for the question, and ends with it.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// A name or alias of `dayfly list`, or a known model
    #[arg(add = complete::models())]
    model: String,
    /// The question; - reads it from stdin, as it is without one where stdin is no terminal
    prompt: Option<String>,
    /// Go on with the text instead of answering it
    #[arg(long, conflicts_with = "system")]
    complete: bool,
    #[command(flatten)]
    wishes: Wishes,
    #[command(flatten)]
    server: ServerFlags,
}

impl Run {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let prompt = self.prompt()?;
        let format = context.format();
        block_on(async {
            let reached = reach::running_or_own(context, &self.server, &self.model).await?;
            let asked = tokio::select! {
                asked = self.ask(&reached, &prompt, format) => asked,
                failure = interrupted() => Err(failure),
            };
            reached.close().await;
            show(&self.model, &asked?, format)
        })
    }

    fn prompt(&self) -> Result<String, Failure> {
        match self.prompt.as_deref() {
            Some("-") => {}
            Some(prompt) => return Ok(prompt.to_owned()),
            None if io::stdin().is_terminal() => {
                let model = &self.model;
                return Err(usage(format!("say what to ask, or pipe it in; `dayfly chat {model}` is a conversation")));
            }
            None => {}
        }
        let mut text = String::new();
        let read = io::stdin().lock().take(PROMPT_BYTES_MAX as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| anyhow::Error::new(error).context("stdin cannot be read"))?;
        if text.len() > PROMPT_BYTES_MAX {
            return Err(usage(format!("a prompt has at most {PROMPT_BYTES_MAX} bytes")));
        }
        if text.trim().is_empty() {
            return Err(usage("stdin has no question".to_owned()));
        }
        Ok(text)
    }

    async fn ask(&self, reached: &Reached, prompt: &str, format: Format) -> Result<Answer, Failure> {
        let messages = [message("user", prompt)];
        let prompt = if self.complete { Prompt::Text(prompt) } else { Prompt::Messages(&messages) };
        let asked = ask(&reached.client, &self.wishes, (&self.model, prompt), shown_in(format)).await;
        match asked {
            Err(error) if error.is_model_not_found() => Err(not_found(reached, &self.model, error).await),
            asked => Ok(asked?),
        }
    }
}

fn usage(why: String) -> Failure {
    Failure::Usage(anyhow::Error::msg(why))
}

/// What happens to each piece of an answer.
pub(super) fn shown_in(format: Format) -> fn(&str) -> io::Result<()> {
    match format {
        Format::Json => |_| Ok(()),
        Format::Text => output::print_piece,
    }
}

/// The server's refusal, with the names that are most like the one that was asked for.
pub(super) async fn not_found(reached: &Reached, model: &str, error: ClientError) -> Failure {
    let names = ps::names(&reached.client).await.unwrap_or_default();
    Failure::NotFound(anyhow::anyhow!("{error}{}", names::hint(model, &names)))
}

/// What follows the text of an answer: the receipt, or all of it.
pub(super) fn show(model: &str, answer: &Answer, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json_line(&answer.to_json(model));
    }
    if !answer.text.ends_with('\n') {
        output::print("")?;
    }
    let line = Line { title: String::new(), first_token: answer.first_token, receipt: answer.receipt()? };
    output::note(format_args!("\n{}", receipts(&[line])));
    Ok(())
}
