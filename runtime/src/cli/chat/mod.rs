//! `dayfly chat`: a conversation, at a terminal or from a pipe.
//!
//! Invariants: an answer that failed or was broken off leaves no trace in the conversation; what the model says goes to stdout
//! and all else to stderr. Deliberately absent: conversations that outlast the command (the history is of lines typed).

mod commands;
mod lines;

use clap::Args;
use serde_json::Value;

use self::commands::{COMMANDS, Said, Setting, said};
use self::lines::{Lines, Typed};
use super::ask::{Answer, Prompt, Wishes, ask, message};
use super::complete;
use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on};
use super::output::{self, Format, figure};
use super::reach::{self, Reached};
use super::receipt::{Line, money, one_line, receipts};
use super::run::{not_found, shown_in};
use crate::config::Layer;

/// Talk with a model. /help tells the commands, Ctrl-C breaks an answer off, Ctrl-D ends.
///
/// A message goes on over lines that end in a backslash, or from a line that begins with """ to one that ends so. What is typed
/// at a terminal is kept for the next time in chat_history in the user's state folder, which only that user reads.
#[derive(Args, Debug)]
pub(super) struct Chat {
    /// A name or alias of `dayfly list`, or a known model
    #[arg(add = complete::models())]
    model: String,
    /// Show no receipt after an answer
    #[arg(long, short)]
    quiet: bool,
    /// Keep nothing of what is typed, and offer nothing of what was
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    wishes: Wishes,
    #[command(flatten)]
    server: ServerFlags,
}

/// Whether the conversation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoesOn,
    Ends,
}

/// A conversation.
struct Talk<'a> {
    chat: &'a Chat,
    context: &'a Context,
    reached: &'a Reached,
    /// As they are now.
    wishes: Wishes,
    messages: Vec<Value>,
    last: Option<Answer>,
    total: Total,
}

/// What the conversation has taken until now, with what was cleared.
#[derive(Clone, Debug, Default)]
struct Total {
    answers: u64,
    tokens: u64,
    joules: f64,
    /// None once an answer's is not known.
    cost: Option<f64>,
}

impl Chat {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let history = (!self.no_history).then_some(config.chat_history);
        block_on(async {
            let reached = reach::running_or_own(context, &self.server, &self.model).await?;
            let mut talk = Talk {
                chat: self,
                context,
                reached: &reached,
                wishes: self.wishes.clone(),
                messages: Vec::new(),
                last: None,
                total: Total { cost: Some(0.0), ..Total::default() },
            };
            let ended = talk.go_on(Lines::open(history)).await;
            reached.close().await;
            ended
        })
    }
}

impl Talk<'_> {
    async fn go_on(&mut self, mut lines: Lines) -> Result<(), Failure> {
        loop {
            let typed = tokio::select! {
                typed = lines.message() => typed,
                _ = tokio::signal::ctrl_c() => None,
            };
            match typed {
                None => return Ok(()),
                Some(Typed::Interrupted) => output::note("Ctrl-D or /bye ends"),
                Some(Typed::TooLong) => output::note("that is more than a message may have"),
                Some(Typed::Message(text)) => {
                    if self.hear(&text).await? == Next::Ends {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn hear(&mut self, text: &str) -> Result<Next, Failure> {
        match said(text) {
            Said::Nothing => {}
            Said::Bye => return Ok(Next::Ends),
            Said::Help => output::note(help()),
            Said::Clear => self.messages.clear(),
            Said::System(None) => {
                output::note(self.wishes.system.as_deref().unwrap_or("the model is told nothing first"))
            }
            Said::System(Some(text)) => self.wishes.system = (text != "none").then(|| text.to_owned()),
            Said::Set(Setting::All) => output::note(commands::settings(&self.wishes)),
            Said::Set(Setting::One(name, value)) => {
                if let Err(why) = commands::set(&mut self.wishes, name, value) {
                    output::note(why);
                }
            }
            Said::Show => output::note(self.described()),
            Said::Receipt => self.tell_receipt()?,
            Said::Unknown(hint) => output::note(format_args!("there is no such command{hint}; /help tells them")),
            Said::Question(question) => self.answer(question).await?,
        }
        Ok(Next::GoesOn)
    }

    /// Answers, and remembers both.
    async fn answer(&mut self, question: &str) -> Result<(), Failure> {
        self.messages.push(message("user", question));
        let (model, format) = (&self.chat.model, self.context.format());
        let prompt = Prompt::Messages(&self.messages);
        let asked = tokio::select! {
            asked = ask(&self.reached.client, &self.wishes, (model, prompt), shown_in(format)) => asked,
            _ = tokio::signal::ctrl_c() => {
                self.messages.pop();
                output::note("\n(broken off)");
                return Ok(());
            }
        };
        match asked {
            Ok(answer) => {
                self.messages.push(message("assistant", &answer.text));
                self.show(answer, format)
            }
            Err(error) if error.is_model_not_found() => Err(not_found(self.reached, model, error).await),
            Err(error) => match Failure::from(error) {
                failure @ Failure::Failed(_) => {
                    self.messages.pop();
                    failure.tell();
                    Ok(())
                }
                failure => Err(failure),
            },
        }
    }

    /// What follows the text of an answer: the receipt, or all of it as JSON.
    fn show(&mut self, answer: Answer, format: Format) -> Result<(), Failure> {
        let receipt = answer.receipt()?;
        self.total.add(&receipt);
        match format {
            Format::Json => output::print_json_line(&answer.to_json(&self.chat.model))?,
            Format::Text if !answer.text.ends_with('\n') => output::print("")?,
            Format::Text => {}
        }
        if format == Format::Text && !self.chat.quiet {
            let line = one_line(&Line { title: String::new(), first_token: answer.first_token, receipt });
            output::note(output::dimmed(&line, &self.context.environment));
        }
        self.last = Some(answer);
        Ok(())
    }

    fn tell_receipt(&self) -> Result<(), Failure> {
        let Some(answer) = &self.last else {
            output::note("nothing was answered yet");
            return Ok(());
        };
        let receipt = answer.receipt()?;
        let currency = receipt.cost.currency.clone();
        let line = Line { title: String::new(), first_token: answer.first_token, receipt };
        output::note(format_args!("{}\n{}", receipts(&[line]), self.total.text(&currency)));
        Ok(())
    }

    fn described(&self) -> String {
        let system = self.wishes.system.as_deref().unwrap_or("none");
        let (model, url, messages) = (&self.chat.model, self.reached.client.url(), self.messages.len());
        format!("{model} at {url}\nmessages: {messages}\nsystem: {system}\n{}", commands::settings(&self.wishes))
    }
}

impl Total {
    fn add(&mut self, receipt: &meter::Receipt) {
        self.answers += 1;
        self.tokens += receipt.tokens.prompt + receipt.tokens.completion;
        self.joules += receipt.energy.joules;
        self.cost = self.cost.zip(receipt.cost.amount).map(|(sum, amount)| sum + amount);
    }

    fn text(&self, currency: &str) -> String {
        let Self { answers, tokens, joules, cost } = self;
        let cost = cost.map_or_else(|| "unknown".to_owned(), |amount| money(amount, currency));
        format!("until now: {answers} answers, {tokens} tokens, {} J, {cost}", figure(*joules))
    }
}

fn help() -> String {
    COMMANDS.iter().map(|(usage, meaning)| format!("{usage:<22} {meaning}\n")).collect::<String>()
        + "\"\"\" … \"\"\", or \\ at the end of a line, for a message of several lines; Ctrl-C breaks an answer off"
}
