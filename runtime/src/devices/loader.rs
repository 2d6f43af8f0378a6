//! A pool's loader: the models of the catalog, as one device has them.

use std::sync::Arc;
use std::time::Instant;

use loader::BringIn;
use models::candle::{self, Weights};
use models::{Descriptor, Model};
use scheduler::{Identity, Inspection, KeepAlive, LoadSource, LoadStage, Loaded, ModelLoader, Progress};

use super::estimates::Estimates;
use crate::engine::ModelCosts;
use crate::loading::{Load, LoadError, LoadedModel, Models, load_source};

/// The models of the catalog on one device.
pub(crate) struct DeviceModels {
    models: Arc<Models>,
    estimates: Arc<Estimates>,
    /// The device's number.
    device: usize,
    /// Where weights are copied to; `None` where they are computed from where they are mapped.
    candle: Option<candle::Device>,
}

impl DeviceModels {
    pub(super) fn new(
        models: Arc<Models>,
        estimates: Arc<Estimates>,
        device: usize,
        candle: Option<candle::Device>,
    ) -> Self {
        Self { models, estimates, device, candle }
    }

    /// Bytes of the device that a model takes.
    pub(super) fn needed_bytes(&self, descriptor: &Descriptor) -> u64 {
        match &self.candle {
            Some(device) => Weights::bytes_on(device.kind(), &descriptor.network),
            None => descriptor.identity().weights_bytes(),
        }
    }

    /// Whether sequences can take over what others computed here.
    pub(super) fn shares_blocks(&self) -> bool {
        self.candle.is_none()
    }

    /// What steps of a model cost here.
    pub(super) fn costs(&self, descriptor: &Descriptor) -> ModelCosts {
        self.models.costs(self.device, descriptor.identity())
    }
}

impl ModelLoader for DeviceModels {
    type Model = LoadedModel;
    type Error = LoadError;

    fn inspect(&self, name: &str) -> Result<Inspection, LoadError> {
        let entry = self.models.entry(name)?;
        // What is no file of its folder is refused before anything of it, or of what it leads to, is looked at.
        let identity = entry.identity().map_err(LoadError::Open)?;
        let needed_bytes = match &self.candle {
            // What a copy takes depends on the types of its tensors.
            Some(_) => self.needed_bytes(&*self.models.descriptor(name)?),
            None => identity.weights_bytes(),
        };
        Ok(Inspection::new(Identity(identity.words()), needed_bytes))
    }

    fn keep_alive(&self, name: &str) -> Option<KeepAlive> {
        Some(self.models.keep_alive(name))
    }

    fn reclaim(&self, bytes: u64) -> u64 {
        // Pages that sequences share are in the memory of the kernels' device.
        if self.candle.is_none() { self.models.reclaim(bytes) } else { 0 }
    }

    fn load(&self, name: &str, inspection: &Inspection, progress: &Progress) -> Result<Loaded<LoadedModel>, LoadError> {
        let began = Instant::now();
        self.models.metered_load((self.device, name), |open| {
            let mut model = open()?;
            if self.needed_bytes(model.descriptor()) > inspection.weights_bytes {
                return Err(LoadError::Replaced);
            }
            progress.at(LoadStage::Weights, 0);
            let bytes_before = self.candle.is_none().then(|| model.resident_bytes()).flatten();
            let (weights, source) = match &self.candle {
                Some(device) => (Some(self.copied(&model, device, progress)?), LoadSource::UNKNOWN),
                None => (None, self.mapped(&mut model, inspection, progress)?),
            };
            self.estimates.learn_load(inspection.weights_bytes, began.elapsed());
            let costs = self.costs(model.descriptor());
            let model = Arc::new(model);
            let watch = || self.models.watch((self.device, name), inspection.identity, (&model, bytes_before));
            // A copy is wholly resident, whatever becomes of the file.
            let watch = weights.is_none().then(watch);
            let load = Load { model, watch, weights, kv_precision: self.models.kv_precision(name) };
            let model = LoadedModel::new(load, self.models.instance(), costs, self.models.isa());
            Ok(Loaded { model, source })
        })
    }
}

impl DeviceModels {
    fn copied(&self, model: &Model, device: &candle::Device, progress: &Progress) -> Result<Weights, LoadError> {
        let tell = &mut |at: models::Progress| progress.at(LoadStage::Weights, at.done_bytes);
        Weights::upload(model, device, tell).map_err(LoadError::Device)
    }

    /// Brings in the pages of a mapped model.
    fn mapped(&self, model: &mut Model, inspection: &Inspection, progress: &Progress) -> Result<LoadSource, LoadError> {
        let pages = self.models.pages();
        model.set_let_go(pages.let_go);
        // What is larger than its room stays in its file until it is used.
        let how = if inspection.is_paged() { BringIn::Lazy } else { pages.bring_in };
        let brought_in = model.bring_in(how, &mut |at| progress.at(LoadStage::Weights, at.done_bytes));
        if pages.lock == loader::Lock::Locked {
            model.lock().map_err(LoadError::Lock)?;
        }
        Ok(load_source(&brought_in))
    }
}
