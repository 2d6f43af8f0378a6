//! `dayfly chat`: a conversation, at a terminal or from a pipe.
//!
//! Invariants: an answer that failed or was broken off leaves no trace in the conversation; what the model says goes to stdout
//! and all else to stderr; only `/save` keeps what was said (the history is of lines typed).

mod commands;
mod lines;
mod saved;

use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::Args;
use serde_json::Value;

use self::commands::{COMMANDS, Said, Setting, said};
use self::lines::{Lines, Typed};
use self::saved::Saved;
use super::ask::{Answer, Prompt, Wishes, ask, message};
use super::failure::Failure;
use super::flags::{Context, ServerFlags, block_on};
use super::output::{self, Format, counted, figure};
use super::reach::{self, Reached};
use super::receipt::{Line, money, one_line, receipts};
use super::run::{not_found, shown_in};
use super::{complete, names, ps};
use crate::config::Layer;
use crate::shutdown::{EndSignal, Signals};

/// Talk with a model
///
/// /help tells the commands, Ctrl-C breaks an answer off, Ctrl-D ends.
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
    /// As it is now.
    model: String,
    /// As they are now.
    wishes: Wishes,
    messages: Vec<Value>,
    last: Option<Answer>,
    /// Questions that failed.
    unanswered: u64,
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
                model: self.model.clone(),
                wishes: self.wishes.clone(),
                messages: Vec::new(),
                last: None,
                unanswered: 0,
                total: Total { cost: Some(0.0), ..Total::default() },
            };
            let mut signals = Signals::listen().map_err(anyhow::Error::from)?;
            let mut lines = Lines::open(history);
            let ended = talk.go_on(&mut lines, &mut signals).await;
            if matches!(ended, Err(Failure::Interrupted(_))) {
                lines.break_off();
            }
            signals.end_at_the_next();
            reached.close().await;
            ended
        })
    }
}

impl Talk<'_> {
    async fn go_on(&mut self, lines: &mut Lines, signals: &mut Signals) -> Result<(), Failure> {
        loop {
            let typed = tokio::select! {
                typed = lines.message() => typed,
                signal = signals.next() => return Err(Failure::Interrupted(signal)),
            };
            match typed {
                None => return self.ended(),
                Some(Typed::Interrupted) => output::note("Ctrl-D or /bye ends"),
                Some(Typed::TooLong) => output::note("that is more than a message may have"),
                Some(Typed::Message(text)) => {
                    if self.hear(&text, signals).await? == Next::Ends {
                        return self.ended();
                    }
                }
            }
        }
    }

    /// Whoever typed has seen what failed; whoever sent a file has to be told.
    fn ended(&self) -> Result<(), Failure> {
        match self.unanswered {
            unanswered @ 1.. if !io::stdin().is_terminal() => {
                Err(anyhow::anyhow!("{} not answered", counted(unanswered, "question")).into())
            }
            _ => Ok(()),
        }
    }

    async fn hear(&mut self, text: &str, signals: &mut Signals) -> Result<Next, Failure> {
        match said(text) {
            Said::Nothing => {}
            Said::Bye => return Ok(Next::Ends),
            Said::Help => output::note(help()),
            Said::Clear => self.messages.clear(),
            Said::System(None) => {
                let system = self.wishes.system.as_deref().unwrap_or("the model is told nothing first");
                output::note(output::harmless(system));
            }
            Said::System(Some(text)) => self.wishes.system = (text != "none").then(|| text.to_owned()),
            Said::Set(Setting::All) => output::note(commands::settings(&self.wishes)),
            Said::Set(Setting::One(name, value)) => {
                if let Err(why) = commands::set(&mut self.wishes, name, value) {
                    output::note(why);
                }
            }
            Said::Model(name) => tokio::select! {
                () = self.change_model(name) => {}
                signal = signals.next() => broken_off(signal)?,
            },
            Said::Save(file) => self.save(Path::new(file)),
            Said::Load(file) => self.load(Path::new(file)),
            Said::Incomplete(usage) => output::note(format_args!("it is used so: {usage}")),
            Said::Show => output::note(self.described()),
            Said::Receipt => self.tell_receipt()?,
            Said::Unknown(hint) => output::note(format_args!("there is no such command{hint}; /help tells them")),
            Said::Question(question) => self.answer(question, signals).await?,
        }
        Ok(Next::GoesOn)
    }

    /// Answers, and remembers both.
    async fn answer(&mut self, question: &str, signals: &mut Signals) -> Result<(), Failure> {
        self.messages.push(message("user", question));
        let (model, format) = (&self.model, self.context.format());
        let prompt = Prompt::Messages(&self.messages);
        let asked = tokio::select! {
            asked = ask(&self.reached.client, &self.wishes, (model, prompt), shown_in(format)) => asked,
            signal = signals.next() => {
                broken_off(signal)?;
                self.messages.pop();
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
                failure @ (Failure::Failed(_) | Failure::Refused(_)) => {
                    self.messages.pop();
                    self.unanswered += 1;
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
            Format::Json => output::print_json_line(&answer.to_json(&self.model))?,
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

    /// Goes on with the model of that name, if the server has it.
    async fn change_model(&mut self, name: &str) {
        match ps::one(&self.reached.client, name).await {
            Ok(()) => self.model = name.to_owned(),
            Err(error) if error.is_model_not_found() => {
                let known = ps::names(&self.reached.client).await.unwrap_or_default();
                output::note(format_args!("{error}{}", names::hint(name, &known)));
            }
            Err(error) => Failure::from(error).tell(),
        }
    }

    fn save(&self, path: &Path) {
        let messages = serde_json::from_value(Value::Array(self.messages.clone()));
        let messages = messages.expect("those of a conversation are the user's and the model's");
        let saved = Saved { model: self.model.clone(), system: self.wishes.system.clone(), messages };
        match saved.write(path) {
            Ok(()) => output::note(format_args!("{} saved", counted(self.messages.len() as u64, "message"))),
            Err(error) => output::note(format_args!("{error:#}")),
        }
    }

    fn load(&mut self, path: &Path) {
        match Saved::read(path) {
            Ok(Saved { model, system, messages }) => {
                let with = if model == self.model {
                    String::new()
                } else {
                    format!(", had with {}", output::harmless(&model))
                };
                output::note(format_args!("{}{with}", counted(messages.len() as u64, "message")));
                self.messages = messages.iter().map(|message| serde_json::json!(message)).collect();
                self.wishes.system = system;
            }
            Err(error) => output::note(format_args!("{error:#}")),
        }
    }

    fn described(&self) -> String {
        let system = output::harmless(self.wishes.system.as_deref().unwrap_or("none"));
        let (model, url, messages) = (&self.model, self.reached.client.url(), self.messages.len());
        format!("{model} at {url}\nmessages: {messages}\nsystem: {system}\n{}", commands::settings(&self.wishes))
    }
}

/// At a terminal Ctrl-C breaks off what is waited for, and no more.
fn broken_off(signal: EndSignal) -> Result<(), Failure> {
    if signal == EndSignal::Terminate || !io::stdin().is_terminal() {
        return Err(Failure::Interrupted(signal));
    }
    output::note("\n(broken off)");
    Ok(())
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
        format!("until now: {}, {tokens} tokens, {} J, {cost}", counted(*answers, "answer"), figure(*joules))
    }
}

fn help() -> String {
    COMMANDS.iter().map(|(usage, meaning)| format!("{usage:<22} {meaning}\n")).collect::<String>()
        + "\"\"\" … \"\"\", or \\ at the end of a line, for a message of several lines; Ctrl-C breaks an answer off"
}
