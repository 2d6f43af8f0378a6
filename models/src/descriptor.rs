//! All that a file's header says, made once and kept while the model itself comes and goes.

use std::sync::Arc;

use loader::gguf::Header;
use loader::{Artifact, ArtifactIdentity};

use crate::ModelError;
use crate::architecture;
use crate::plan::Plan;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// Plan, tokenizer and template of one artifact. Holds no mapping, and of the weights only converted vectors.
#[derive(Debug)]
pub struct Descriptor {
    identity: ArtifactIdentity,
    header: Arc<Header>,
    /// What the model computes.
    pub plan: Plan,
    /// Text to ids.
    pub tokenizer: Tokenizer,
    /// Messages to prompt, where the file has a template.
    pub template: Option<ChatTemplate>,
}

impl Descriptor {
    /// Reads the header of an opened artifact.
    ///
    /// # Errors
    /// [`ModelError`] when the model cannot be used: for good, until its file changes.
    pub fn of(artifact: &Artifact) -> Result<Self, ModelError> {
        let header = artifact.header();
        let plan = architecture::plan(artifact)?;
        let tokenizer = match artifact.tokenizer_json() {
            Some(json) => Tokenizer::from_folder(json, header, plan.vocabulary)?,
            None => Tokenizer::from_header(header)?,
        };
        // A token past the embedding would have no row; rows past the tokens are padding.
        if tokenizer.len() > plan.vocabulary {
            let reason = format!("{} tokens for an embedding of {} rows", tokenizer.len(), plan.vocabulary);
            return Err(ModelError::InconsistentTokenizer { reason });
        }
        let template = match header.string("tokenizer.chat_template")? {
            Some(source) => Some(ChatTemplate::compile(source, &tokenizer)?),
            None => None,
        };
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
        self.header.memory_bytes() + self.tokenizer.memory_bytes() + self.plan.converted_bytes + (64 << 10)
    }
}
