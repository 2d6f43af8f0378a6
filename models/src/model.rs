//! A descriptor bound to its mapped weights: what the pool shares.

use std::sync::Arc;

use kernels::{KvShape, RopeTable};
use loader::{Artifact, BringIn, LetGo, MapError, Place, thread_major_faults};

use crate::Descriptor;
use crate::plan::{Attention, EncoderLayer, EncoderPlan, FeedForward, Layer, Linear, Network, Plan, Rope};
use crate::residency::{BroughtIn, Progress};

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

    /// Shape of a sequence's key-value cache, of halves; whoever makes the cache may choose another precision.
    ///
    /// # Panics
    /// When the model is an encoder, which keeps none.
    #[must_use]
    pub fn kv_shape(&self) -> KvShape {
        self.descriptor.kv_shape()
    }

    /// Bytes of the mapped files.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.artifact.identity().weights_bytes()
    }

    /// How many of those bytes are in memory now, whoever has brought them there, counted in whole pages; `None` where the
    /// system does not tell.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        self.artifact.files().iter().map(|file| file.cached_bytes(0..file.bytes().len())).sum()
    }

    /// Brings the weights into memory as `how` says, in the order a step reads them, the head last; `progress` hears of
    /// each layer. Rows of an embedding that is no head come when a text asks for them.
    ///
    /// Best effort: an error ends it, and a step that meets the missing pages tells.
    pub fn bring_in(&self, how: BringIn, progress: &mut dyn FnMut(Progress)) -> BroughtIn {
        let layers = self.places_in_order();
        let bytes_of = |places: &[Place]| places.iter().map(|place| place.range.len() as u64).sum::<u64>();
        let bytes = layers.iter().map(|places| bytes_of(places)).sum();
        let cached = |place: &Place| self.artifact.cached_bytes(place);
        let cached_bytes_before = layers.iter().flatten().map(cached).sum::<Option<u64>>();
        let faults_before = thread_major_faults();
        let mut done_bytes = 0;
        for places in layers {
            let brought_bytes = bytes_of(&places);
            if places.into_iter().try_for_each(|place| self.artifact.bring_in(place, how)).is_err() {
                break;
            }
            done_bytes += brought_bytes;
            progress(Progress { done_bytes, bytes });
        }
        let waited = thread_major_faults().zip(faults_before).map(|(after, before)| after.saturating_sub(before));
        // Who does not wait meets no faults, whatever was cached.
        let major_faults = waited.filter(|_| how == BringIn::Populate);
        BroughtIn { bytes, cached_bytes_before, major_faults }
    }

    /// Keeps the weights in memory until the model is dropped.
    ///
    /// # Errors
    /// [`MapError::LockRefused`].
    pub fn lock(&self) -> Result<(), MapError> {
        self.artifact.lock()
    }

    /// Chooses what becomes of the weights' cached pages when the model is dropped.
    pub fn set_let_go(&mut self, let_go: LetGo) {
        self.artifact.set_let_go(let_go);
    }

    /// Where the matrices lie, layer by layer in the order of a step.
    fn places_in_order(&self) -> Vec<Vec<Place>> {
        match &self.descriptor.network {
            Network::Decoder(plan) => {
                let head = vec![plan.output.weight.place().clone()];
                plan.layers.iter().map(layer_places).chain([head]).collect()
            }
            Network::Encoder(plan) => plan.layers.iter().map(encoder_layer_places).collect(),
        }
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
