//! `[chat_templates]`: by which template a model's messages become its prompt, where that is not the file's own.
//!
//! A value is the name of a built-in template or else a file with a Jinja template, read once when the configuration is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use models::limits::TEMPLATE_SOURCE_BYTES_MAX;
use models::template::{builtin, builtin_names};

use super::ConfigError;

/// Whether `choice` names a built-in template.
pub(super) fn is_builtin(choice: &Path) -> bool {
    choice.to_str().is_some_and(|name| builtin(name).is_some())
}

/// The sources of the templates that were chosen, by the models' true names.
pub(super) fn sources(
    chosen: BTreeMap<String, PathBuf>,
    aliases: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Arc<str>>, ConfigError> {
    let mut sources = BTreeMap::new();
    for (model, choice) in chosen {
        let source = source(&choice).map_err(|reason| ConfigError::ChatTemplate { model: model.clone(), reason })?;
        let name = aliases.get(&model).unwrap_or(&model).clone();
        if sources.insert(name, source).is_some() {
            let reason = "the model has one already, under another of its names".to_owned();
            return Err(ConfigError::ChatTemplate { model, reason });
        }
    }
    Ok(sources)
}

fn source(choice: &Path) -> Result<Arc<str>, String> {
    if let Some(source) = choice.to_str().and_then(builtin) {
        return Ok(source.into());
    }
    let names: Vec<&str> = builtin_names().collect();
    let unreadable = |error: std::io::Error| {
        format!("{} cannot be read ({error}), nor is it one of {}", choice.display(), names.join(", "))
    };
    // No FIFO is waited for.
    if !std::fs::metadata(choice).map_err(unreadable)?.is_file() {
        return Err(format!("{} is no file", choice.display()));
    }
    let mut text = String::new();
    let file = File::open(choice).map_err(unreadable)?;
    file.take(TEMPLATE_SOURCE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > TEMPLATE_SOURCE_BYTES_MAX {
        return Err(format!("{} has more than {TEMPLATE_SOURCE_BYTES_MAX} bytes", choice.display()));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pairs: &[(&str, &Path)]) -> BTreeMap<String, PathBuf> {
        pairs.iter().map(|&(model, choice)| (model.to_owned(), choice.to_owned())).collect()
    }

    #[test]
    fn a_choice_is_a_built_in_template_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jinja");
        std::fs::write(&path, "{{ messages[0].content }}").unwrap();
        let aliases = BTreeMap::from([("short".to_owned(), "Long.Q4_0".to_owned())]);
        let sources = |pairs: &[(&str, &Path)]| sources(chosen(pairs), &aliases);

        let both = sources(&[("short", Path::new("gemma")), ("other", &path)]).unwrap();
        assert_eq!(both["Long.Q4_0"].as_ref(), builtin("gemma").unwrap());
        assert_eq!(both["other"].as_ref(), "{{ messages[0].content }}");

        let refused = |pairs: &[(&str, &Path)]| sources(pairs).unwrap_err().to_string();
        assert!(refused(&[("m", Path::new("gema"))]).contains("chatml, gemma, llama2"));
        assert!(refused(&[("m", folder.path())]).contains("is no file"));
        let twice = refused(&[("short", Path::new("gemma")), ("Long.Q4_0", Path::new("chatml"))]);
        assert!(twice.contains("already"), "{twice}");
        std::fs::write(&path, "x".repeat(TEMPLATE_SOURCE_BYTES_MAX + 1)).unwrap();
        assert!(refused(&[("m", &path)]).contains("more than"));
    }
}
