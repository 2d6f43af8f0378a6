//! All that a file's header says, made once and kept while the model itself comes and goes.

use std::sync::Arc;

use kernels::{KvPrecision, KvShape};
use loader::gguf::Header;
use loader::{Artifact, ArtifactIdentity};

use crate::ModelError;
use crate::architecture;
use crate::limits::KV_BLOCK_POSITIONS;
use crate::plan::{EncoderPlan, Network, Plan};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// Plan, tokenizer and template of one artifact. Holds no mapping, and of the weights only converted vectors.
#[derive(Debug)]
pub struct Descriptor {
    identity: ArtifactIdentity,
    header: Arc<Header>,
    /// What the model computes.
    pub network: Network,
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
        let (header, network) = (artifact.header(), architecture::network(artifact)?);
        let tokenizer = match artifact.tokenizer_json() {
            Some(json) => Tokenizer::from_folder(json, header, network.vocabulary())?,
            None => Tokenizer::from_header(header)?,
        };
        Self::of_parts(artifact, network, tokenizer, template)
    }

    /// As [`Descriptor::of`], with the tokenizer that was made of the artifact's header before.
    pub(crate) fn with(artifact: &Artifact, tokenizer: Tokenizer, template: Option<&str>) -> Result<Self, ModelError> {
        Self::of_parts(artifact, architecture::network(artifact)?, tokenizer, template)
    }

    fn of_parts(
        artifact: &Artifact,
        network: Network,
        tokenizer: Tokenizer,
        template: Option<&str>,
    ) -> Result<Self, ModelError> {
        let header = artifact.header();
        // A token past the embedding would have no row; rows past the tokens are padding.
        if tokenizer.len() > network.vocabulary() {
            let reason = format!("{} tokens for an embedding of {} rows", tokenizer.len(), network.vocabulary());
            return Err(ModelError::InconsistentTokenizer { reason });
        }
        let own = header.string("tokenizer.chat_template")?;
        let template = template.or(own).map(|source| ChatTemplate::compile(source, &tokenizer)).transpose()?;
        Ok(Self { identity: artifact.identity().clone(), header: Arc::clone(header), network, tokenizer, template })
    }

    /// The version of the files that this describes.
    #[must_use]
    pub fn identity(&self) -> &ArtifactIdentity {
        &self.identity
    }

    /// The plan of a model that goes on with texts.
    #[must_use]
    pub fn decoder(&self) -> Option<&Plan> {
        match &self.network {
            Network::Decoder(plan) => Some(plan),
            Network::Encoder(_) => None,
        }
    }

    /// The sizes of a sequence's keys and values.
    ///
    /// # Panics
    /// When the model is an encoder, which keeps none.
    #[must_use]
    pub fn kv_shape(&self) -> KvShape {
        let plan = self.decoder().expect("only decoders keep keys and values");
        KvShape {
            layers: plan.layers.len(),
            kv_heads: plan.kv_heads,
            head_dim: plan.head_dim,
            block_positions: KV_BLOCK_POSITIONS,
            precision: KvPrecision::F16,
        }
    }

    /// The plan of a model that makes a vector, or a score, of each text.
    #[must_use]
    pub fn encoder(&self) -> Option<&EncoderPlan> {
        match &self.network {
            Network::Decoder(_) => None,
            Network::Encoder(plan) => Some(plan),
        }
    }

    /// Positions that the model was trained for.
    #[must_use]
    pub fn context_length(&self) -> usize {
        match &self.network {
            Network::Decoder(plan) => plan.context_length,
            Network::Encoder(plan) => plan.context_length,
        }
    }

    /// The validated header.
    #[must_use]
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// Memory that keeping this takes, in bytes: an estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.header.memory_bytes() + self.tokenizer.memory_bytes() + self.network.converted_bytes() + (64 << 10)
    }
}
