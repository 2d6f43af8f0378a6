//! A conversation in a file: what was said, and what the model is told first.
//!
//! Invariants: the file is its user's alone and is replaced as a whole; one that holds something else is neither read as a
//! conversation nor overwritten by one; what is read is bounded as a request is.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::limits::BODY_BYTES_MAX;

/// What there is of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    /// Who answered last.
    pub(super) model: String,
    pub(super) system: Option<String>,
    pub(super) messages: Vec<Message>,
}

/// What one of them said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) content: String,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    User,
    Assistant,
}

impl Saved {
    /// Puts it at `path`, where nothing or another conversation is.
    ///
    /// # Errors
    /// When something else is there, or it cannot be written.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if path.symlink_metadata().is_ok() {
            Self::read(path).context("it is not overwritten")?;
        }
        let text = serde_json::to_vec_pretty(self)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            Ok(file.persist(path)?)
        });
        written.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(())
    }

    /// What is at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or is no conversation.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let read = path.metadata().and_then(|metadata| {
            // What is no file may not end, or never begin.
            if !metadata.is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut text = Vec::new();
            File::open(path)?.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
            if text.len() > BODY_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
        });
        let text = read.with_context(|| format!("{} cannot be read", path.display()))?;
        // Not with what serde found: it may quote the file.
        let saved: Option<Self> = serde_json::from_slice(&text).ok();
        saved.with_context(|| format!("{} holds no conversation", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn saved(content: &str) -> Saved {
        let messages = vec![
            Message { role: Role::User, content: content.into() },
            Message { role: Role::Assistant, content: "日本語\n".into() },
        ];
        Saved { model: "m".into(), system: None, messages }
    }

    #[test]
    fn a_conversation_comes_back_as_it_was_and_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        for content in ["hello", "hello again"] {
            saved(content).write(&path).unwrap();
            assert_eq!(Saved::read(&path).unwrap(), saved(content));
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(Saved::read(&path).is_err() && saved("hello").write(&path).is_err());
        assert!(Saved::read(folder.path()).is_err());
    }

    #[test]
    fn what_is_no_conversation_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.json");
        for text in ["", "secret", "{\"model\":\"m\",\"messages\":[]", "{\"model\":\"m\",\"messages\":[],\"more\":1}"] {
            fs::write(&path, text).unwrap();
            let why = format!("{:#}", saved("x").write(&path).unwrap_err());
            assert!(why.starts_with("it is not overwritten: ") && why.ends_with("holds no conversation"), "{why}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let why = format!("{:#}", Saved::read(&folder.path().join("none")).unwrap_err());
        assert!(why.contains("cannot be read"), "{why}");
        assert!(saved("x").write(&folder.path().join("no/such/folder")).is_err());
        File::create(&path).unwrap().set_len(BODY_BYTES_MAX as u64 + 1).unwrap();
        assert!(Saved::read(&path).is_err(), "it is bounded");
    }
}
