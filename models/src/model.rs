//! A descriptor bound to its mapped weights: what the pool shares.

use std::sync::Arc;

use kernels::{KvShape, RopeTable};
use loader::{Artifact, MapError};

use crate::Descriptor;
use crate::limits::KV_BLOCK_POSITIONS;
use crate::plan::{Layer, Plan, Weight};

/// A model ready to compute. Dropping the last holder unmaps the file.
pub struct Model {
    artifact: Artifact,
    descriptor: Arc<Descriptor>,
    rope: RopeTable,
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
        let plan = &descriptor.plan;
        let factors = plan.rope.frequency_factors.as_ref().map(|gain| gain.values(&artifact));
        let rope = RopeTable::new(plan.head_dim, plan.rope.dimensions, plan.rope.base, plan.rope.style, factors);
        Self { artifact, descriptor, rope }
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

    /// What the model computes.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.descriptor.plan
    }

    /// Sines and cosines of its positions.
    #[must_use]
    pub fn rope(&self) -> &RopeTable {
        &self.rope
    }

    /// Shape of a sequence's key-value cache.
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

    /// Asks the system to bring the weights into memory in the order a step reads them. Best effort.
    pub fn populate(&self) {
        let file = self.artifact.file();
        for Layer { query, key, value, attention_output, gate, up, down, .. } in &self.plan().layers {
            let ranges = [key, value, attention_output, gate, up, down].map(Weight::range);
            let layer =
                ranges.into_iter().fold(query.range(), |all, one| all.start.min(one.start)..all.end.max(one.end));
            if file.populate(layer).is_err() {
                return;
            }
        }
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
