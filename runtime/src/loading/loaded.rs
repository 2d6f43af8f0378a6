//! A model as a device has it: mapped or copied, with what is known of its steps and shared of its pages.
//!
//! Deliberately absent: how it came there (`loading`), and when it goes (the pool).

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kernels::{Isa, KvPrecision, KvShape};
use models::candle::Weights;
use models::contexts::ContextKey;
use models::{Descriptor, Model};

use crate::config::word_of;
use crate::engine::ModelCosts;
use crate::limits::STRIKES_MAX;
use crate::metering::Watch;
use crate::prefixes::InstancePrefixes;

/// A model on a device, and what was computed with it for whoever begins alike.
pub(crate) struct LoadedModel {
    /// Asked about as long as it is mapped: first, so that it is dropped before the model is.
    _watch: Option<Watch>,
    model: Arc<Model>,
    /// Copies of its weights, where the device needs them.
    weights: Option<Weights>,
    prefixes: Arc<InstancePrefixes>,
    costs: ModelCosts,
    kv_precision: KvPrecision,
    context_key: Option<ContextKey>,
    /// Requests in a row that it computed no numbers for.
    strikes: AtomicU32,
}

/// What a load brings.
pub(crate) struct Load {
    pub(crate) model: Arc<Model>,
    /// What tells how much of it is resident, where it is computed from where it is mapped.
    pub(crate) watch: Option<Watch>,
    /// Copies of its weights, where the device needs them.
    pub(crate) weights: Option<Weights>,
    /// How the kernels keep its keys and values.
    pub(crate) kv_precision: KvPrecision,
}

impl LoadedModel {
    /// As `load` has it, computed by instructions of `isa`.
    pub(crate) fn new(load: Load, prefixes: InstancePrefixes, costs: ModelCosts, isa: Isa) -> Self {
        let Load { model, watch, weights, kv_precision } = load;
        let shares = weights.is_none() && model.descriptor().decoder().is_some();
        let context_key = shares.then(|| context_key(model.descriptor(), isa, kv_precision));
        let (prefixes, strikes) = (Arc::new(prefixes), AtomicU32::new(0));
        Self { _watch: watch, model, weights, prefixes, costs, kv_precision, context_key, strikes }
    }

    /// Copies of its weights; none where it is computed from where it is mapped.
    pub(crate) fn weights(&self) -> Option<&Weights> {
        self.weights.as_ref()
    }

    /// What its keys and values are computed by; none where they cannot be shared.
    pub(crate) fn context_key(&self) -> Option<&ContextKey> {
        self.context_key.as_ref()
    }

    /// It computed no numbers for a request, which may be the request's fault, but not of several in a row.
    pub(crate) fn strike(&self) -> Trust {
        let strikes = self.strikes.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if strikes >= STRIKES_MAX { Trust::Lost } else { Trust::Kept }
    }

    /// It answered a request.
    pub(crate) fn did_well(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    /// What its keys and values are kept as, in the words of the configuration; none of an encoder, or where the kernels
    /// do not compute.
    pub(crate) fn kv_precision_word(&self) -> Option<&'static str> {
        self.context_key.as_ref().map(|_| word_of(self.kv_precision))
    }

    /// Shape of the caches of its sequences; all of one load have the same, and so share pages.
    ///
    /// # Panics
    /// When it is an encoder, which keeps none.
    pub(crate) fn kv_shape(&self) -> KvShape {
        KvShape { precision: self.kv_precision, ..self.model.kv_shape() }
    }

    /// What was computed with it.
    pub(crate) fn prefixes(&self) -> &Arc<InstancePrefixes> {
        &self.prefixes
    }

    /// What its steps cost.
    pub(crate) fn costs(&self) -> &ModelCosts {
        &self.costs
    }
}

impl Deref for LoadedModel {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

/// Whether a model is trusted to compute for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Kept,
    Lost,
}

/// What keys and values of a model are computed by, where they are kept so.
///
/// # Panics
/// When the model is an encoder, which keeps none.
pub(crate) fn context_key(descriptor: &Descriptor, isa: Isa, precision: KvPrecision) -> ContextKey {
    ContextKey::new(descriptor, isa, KvShape { precision, ..descriptor.kv_shape() })
}
