//! `dayfly context add`, `dayfly context list` and `dayfly context rm`

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::complete;
use super::failure::Failure;
use super::flags::{Context, block_on};
use super::load::{post, show};
use super::output::{self, Column, Format, table};
use super::reach;
use crate::config::{Layer, bytes_text};
use crate::limits::BODY_BYTES_MAX;

/// Publish texts that prompts of every tenant may begin with: a running server computes each once and keeps it
#[derive(Debug, Subcommand)]
pub(super) enum ContextCommand {
    Add(Add),
    List(List),
    Rm(Rm),
}

/// Have a text computed and kept, in the place of the context of the same name and model
#[derive(Args, Debug)]
pub(super) struct Add {
    /// A name or alias
    #[arg(add = complete::models_here())]
    model: String,
    /// The text, in UTF-8; `-` is stdin
    file: PathBuf,
    /// What requests call it; the file's name without its extension, unless it is said
    #[arg(long)]
    name: Option<String>,
    /// Make it the system message that conversations begin with, instead of a text for completions
    #[arg(long)]
    system: bool,
}

/// List the contexts of a running server
#[derive(Args, Debug)]
pub(super) struct List {}

/// Delete a context
#[derive(Args, Debug)]
pub(super) struct Rm {
    /// Its name or id
    name: String,
}

impl ContextCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(context),
            Self::List(list) => list.run(context),
            Self::Rm(rm) => rm.run(context),
        }
    }
}

impl Add {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&self.file)?,
        };
        let text = read(&self.file)?;
        let mut body = json!({ "model": self.model, "name": name });
        if self.system {
            body["messages"] = json!([{ "role": "system", "content": text }]);
        } else {
            body["text"] = json!(text);
        }
        let answer = post(context, "/v1/contexts", &body)?;
        show(context, &answer, |answer| {
            let (tokens, bytes) = (answer["tokens"].as_u64().unwrap_or(0), answer["bytes"].as_u64().unwrap_or(0));
            format!("{name} is published for {}: {tokens} tokens, {}", text_of(&answer["model"]), bytes_text(bytes))
        })
    }
}

impl List {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let listed = block_on(async {
            let client = reach::running(context, &config).await?;
            Ok(client.get("/v1/contexts").await?)
        })?;
        if context.format() == Format::Json {
            return output::print_json(&listed);
        }
        let columns = [
            Column::Left("NAME"),
            Column::Left("MODEL"),
            Column::Right("TOKENS"),
            Column::Right("SIZE"),
            Column::Left("STATE"),
            Column::Left("PUBLISHER"),
            Column::Left("ID"),
        ];
        output::print(table(&columns, listed["data"].as_array().into_iter().flatten().map(row)))
    }
}

impl Rm {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let answer = block_on(async {
            let client = reach::running(context, &config).await?;
            Ok(client.delete(&format!("/v1/contexts/{}", path_part(&self.name)?)).await?)
        })?;
        show(context, &answer, |_| format!("{} is deleted", self.name))
    }
}

fn row(context: &Value) -> Vec<String> {
    vec![
        text_of(&context["name"]).to_owned(),
        text_of(&context["model"]).to_owned(),
        context["tokens"].as_u64().unwrap_or(0).to_string(),
        bytes_text(context["bytes"].as_u64().unwrap_or(0)).to_string(),
        text_of(&context["state"]).to_owned(),
        text_of(&context["publisher"]).to_owned(),
        text_of(&context["id"]).to_owned(),
    ]
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// The name that a file gives its context.
fn name_of(file: &Path) -> Result<String, Failure> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-");
    stem.map(str::to_owned).ok_or_else(|| Failure::Usage(anyhow::anyhow!("say --name: the file gives none")))
}

/// A name or id as it stands in a path: no other has a meaning there.
fn path_part(name: &str) -> Result<&str, Failure> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if !name.is_empty() && name.chars().all(is_plain) {
        return Ok(name);
    }
    Err(Failure::Usage(anyhow::anyhow!("{name:?} is no name or id of a context")))
}

/// A text that fits in a request's body.
fn read(file: &Path) -> Result<String, Failure> {
    let read =
        if file == Path::new("-") { read_from(io::stdin()) } else { std::fs::File::open(file).and_then(read_from) };
    read.map_err(|error| {
        Failure::Failed(anyhow::Error::new(error).context(format!("{} cannot be read", file.display())))
    })
}

fn read_from(source: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(BODY_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    if text.len() > BODY_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_context_and_stdin_does_not() {
        assert_eq!(name_of(Path::new("docs/manual.v2.txt")).unwrap(), "manual.v2");
        assert!(matches!(name_of(Path::new("-")), Err(Failure::Usage(_))));
        assert_eq!(path_part("manual.v2").unwrap(), "manual.v2");
        assert!(path_part("a/b").is_err() && path_part("").is_err());
    }

    #[test]
    fn a_text_that_no_body_holds_is_refused() {
        assert_eq!(read_from("short".as_bytes()).unwrap(), "short");
        assert!(read_from(io::repeat(b'a')).is_err());
        assert!(read_from(&[0xff][..]).is_err());
    }
}
