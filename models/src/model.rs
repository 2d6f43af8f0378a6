//! A descriptor bound to its mapped weights: what the pool shares.

use std::ops::Range;
use std::sync::Arc;

use kernels::{KvShape, RopeTable};
use loader::{Artifact, MapError};

use crate::Descriptor;
use crate::limits::KV_BLOCK_POSITIONS;
use crate::plan::{Attention, EncoderLayer, EncoderPlan, FeedForward, Layer, Linear, Network, Plan, Rope};

/// A model ready to compute. Dropping the last holder unmaps the file.
pub struct Model {
    artifact: Artifact,
    descriptor: Arc<Descriptor>,
    ropes: Vec<RopeTable>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("path", &self.artifact.path()).finish_non_exhaustive()
    }
}

impl Model {
    /// Binds `descriptor` to the artifact it was made from.
    ///
    /// # Panics
    /// When the two are of different files.
    #[must_use]
    pub fn new(artifact: Artifact, descriptor: Arc<Descriptor>) -> Self {
        assert_eq!(artifact.identity(), descriptor.identity(), "a descriptor belongs to one file");
        let table = |plan: &Plan, rope: &Rope| {
            RopeTable::new(plan.head_dim, rope.dimensions, rope.base, rope.style, Some(&rope.divisors))
        };
        let ropes = match descriptor.decoder() {
            Some(plan) => plan.ropes.iter().map(|rope| table(plan, rope)).collect(),
            None => Vec::new(),
        };
        Self { artifact, descriptor, ropes }
    }

    /// The mapped file.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// What the header says.
    #[must_use]
    pub fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    /// What a decoder computes.
    ///
    /// # Panics
    /// When the model is an encoder: whoever makes its sequences has looked at [`Descriptor::network`].
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.descriptor.decoder().expect("only decoders go on with texts")
    }

    /// What an encoder computes.
    ///
    /// # Panics
    /// When the model is a decoder: whoever asks it for vectors has looked at [`Descriptor::network`].
    #[must_use]
    pub fn encoder(&self) -> &EncoderPlan {
        self.descriptor.encoder().expect("only encoders make vectors of texts")
    }

    /// Sines and cosines of its positions, one table for each of [`Plan::ropes`].
    #[must_use]
    pub fn ropes(&self) -> &[RopeTable] {
        &self.ropes
    }

    /// Shape of a sequence's key-value cache.
    ///
    /// # Panics
    /// When the model is an encoder, which keeps none.
    #[must_use]
    pub fn kv_shape(&self) -> KvShape {
        let plan = self.plan();
        KvShape {
            layers: plan.layers.len(),
            kv_heads: plan.kv_heads,
            head_dim: plan.head_dim,
            block_positions: KV_BLOCK_POSITIONS,
        }
    }

    /// Bytes of the mapped file.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.artifact.identity().size_bytes
    }

    /// Asks the system to bring the weights into memory in the order a step reads them, the head last. Best effort.
    pub fn populate(&self) {
        let ranges: Vec<Range<usize>> = match &self.descriptor.network {
            Network::Decoder(plan) => plan.layers.iter().map(layer).chain([plan.output.weight.range()]).collect(),
            Network::Encoder(plan) => plan.layers.iter().map(encoder_layer).collect(),
        };
        // An error ends it: a step that meets the missing pages tells.
        let _ = ranges.into_iter().try_for_each(|range| self.artifact.file().populate(range));
    }

    /// Whether the file is still what was loaded.
    ///
    /// # Errors
    /// [`MapError`] when the file was changed, or truncated under a read.
    pub fn verify_unchanged(&self) -> Result<(), MapError> {
        self.artifact.file().verify_unchanged()
    }

    /// Whether a read met a part of the file that is no longer there: every result since is worthless.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.artifact.file().is_poisoned()
    }
}

/// Where the matrices of a layer lie.
fn layer(Layer { attention, feed_forward }: &Layer) -> Range<usize> {
    let Attention { query, key, value, output, .. } = attention;
    let FeedForward { gate, up, down, .. } = feed_forward;
    span([query, key, value, output, gate, up, down])
}

fn encoder_layer(EncoderLayer { query, key, value, output, up, down, .. }: &EncoderLayer) -> Range<usize> {
    span([query, key, value, output, up, down])
}

/// From the first byte of these matrices to the last.
fn span<const N: usize>(matrices: [&Linear; N]) -> Range<usize> {
    let ranges = matrices.map(|linear| linear.weight.range());
    let first = ranges.iter().map(|range| range.start).min().unwrap_or(0);
    first..ranges.iter().map(|range| range.end).max().unwrap_or(first)
}
