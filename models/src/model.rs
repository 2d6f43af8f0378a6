//! A descriptor bound to its mapped weights: what the pool shares.

use std::sync::Arc;

use kernels::{KvShape, RopeTable};
use loader::{Artifact, MapError, Place};

use crate::Descriptor;
use crate::limits::KV_BLOCK_POSITIONS;
use crate::plan::{Attention, EncoderLayer, EncoderPlan, FeedForward, Layer, Linear, Network, Plan, Rope};

/// A model ready to compute. Dropping the last holder unmaps the files.
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

    /// The mapped files.
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

    /// Bytes of the mapped files.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.artifact.identity().weights_bytes()
    }

    /// Asks the system to bring the weights into memory in the order a step reads them, the head last. Best effort.
    pub fn populate(&self) {
        let places: Vec<Place> = match &self.descriptor.network {
            Network::Decoder(plan) => {
                let head = plan.output.weight.place().clone();
                plan.layers.iter().flat_map(layer_places).chain([head]).collect()
            }
            Network::Encoder(plan) => plan.layers.iter().flat_map(encoder_layer_places).collect(),
        };
        // An error ends it: a step that meets the missing pages tells.
        let _ = places.into_iter().try_for_each(|place| self.artifact.populate(place));
    }

    /// Whether the files are still what was loaded.
    ///
    /// # Errors
    /// [`MapError`] when a file was changed, or truncated under a read.
    pub fn verify_unchanged(&self) -> Result<(), MapError> {
        self.artifact.verify_unchanged()
    }

    /// Whether a read met a part of a file that is no longer there: every result since is worthless.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.artifact.is_poisoned()
    }
}

/// Where the matrices of a layer lie.
fn layer_places(Layer { attention, feed_forward }: &Layer) -> Vec<Place> {
    let Attention { query, key, value, output, .. } = attention;
    let FeedForward { gate, up, down, .. } = feed_forward;
    united([query, key, value, output, gate, up, down])
}

fn encoder_layer_places(EncoderLayer { query, key, value, output, up, down, .. }: &EncoderLayer) -> Vec<Place> {
    united([query, key, value, output, up, down])
}

/// One place for each file: from the first of these matrices' bytes to the last.
fn united<const N: usize>(matrices: [&Linear; N]) -> Vec<Place> {
    let mut united: Vec<Place> = Vec::new();
    for place in matrices.map(|linear| linear.weight.place().clone()) {
        match united.iter_mut().find(|kept| kept.file == place.file) {
            Some(Place { range, .. }) => *range = range.start.min(place.range.start)..range.end.max(place.range.end),
            None => united.push(place),
        }
    }
    united
}
