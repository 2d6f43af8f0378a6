//! All that a file's header says, made once and kept while the model itself comes and goes.

use std::sync::Arc;

use loader::gguf::Header;
use loader::{Artifact, ArtifactIdentity};

use crate::ModelError;
use crate::architecture;
use crate::plan::Plan;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// Plan, tokenizer and template of one file. Holds no weights and no mapping.
#[derive(Debug)]
pub struct Descriptor {
    identity: ArtifactIdentity,
    header: Arc<Header>,
    /// What the model computes.
    pub plan: Plan,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Messages to prompt, where the file has a template or one was chosen.
    pub template: Option<ChatTemplate>,
}

impl Descriptor {
    /// Reads the header of an opened artifact. `template` is a chat template's source that takes the place of the file's
    /// own.
    ///
    /// # Errors
    /// [`ModelError`] when the model cannot be used: for good, until its file or the template changes.
    pub fn of(artifact: &Artifact, template: Option<&str>) -> Result<Self, ModelError> {
        let header = artifact.header();
        let plan = architecture::plan(artifact)?;
        let tokenizer = Tokenizer::from_header(header)?;
        let own = header.string("tokenizer.chat_template")?;
        let template = template.or(own).map(|source| ChatTemplate::compile(source, &tokenizer)).transpose()?;
        Ok(Self { identity: artifact.identity().clone(), header: Arc::clone(header), plan, tokenizer, template })
    }

    /// The version of the files that this describes.
    #[must_use]
    pub fn identity(&self) -> &ArtifactIdentity {
        &self.identity
    }

    /// The validated header.
    #[must_use]
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Memory that keeping this takes, in bytes: an estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.header.memory_bytes() + self.tokenizer.memory_bytes() + (64 << 10)
    }
}
