//! Bringing models: known ones when they are first asked for, others because someone says so. One of each at a time.

use std::path::PathBuf;
use std::sync::Arc;

use loader::pull::{Known, Progress, PullError, PullRequest, Puller, Silent, Source};

use super::App;
use crate::generate::{load_failed, reasons};
use crate::http::error::ApiError;

impl App {
    /// Brings a known model, unless another request has brought it meanwhile. The lock goes with the pull and not with
    /// the request: a client that leaves does not let a second pull begin.
    pub(super) async fn pull(self: &Arc<Self>, known: &'static Known) -> Result<Arc<str>, ApiError> {
        let one_at_a_time = Arc::clone(&self.pulling).lock_owned().await;
        if let Ok(entry) = self.entry(known.alias).await {
            return Ok(entry.name.into());
        }
        let Some(models_dir) = self.config().models_dirs.first().cloned() else {
            return Err(ApiError::model_not_found(known.alias));
        };
        tracing::info!(model = known.alias, "pulling on first use");
        let request = PullRequest { source: Source::Known(known), models_dir, sha256: None };
        let pulled = tokio::task::spawn_blocking(move || {
            let pulled = loader::pull::pull(&request, &Silent);
            drop(one_at_a_time);
            pulled
        });
        pulled.await.map_err(ApiError::internal)?.map_err(ApiError::load_failed)?;
        let entry = self.entry(known.alias).await.map_err(|error| load_failed(Arc::new(error)))?;
        Ok(entry.name.into())
    }

    /// Brings what `request` asks for, after whatever is being brought, and tells `progress`, which may end it.
    pub(crate) async fn bring(
        self: &Arc<Self>,
        request: PullRequest,
        progress: impl Progress + Send + 'static,
    ) -> Result<PathBuf, ApiError> {
        let one_at_a_time = Arc::clone(&self.bringing).lock_owned().await;
        let puller = Puller { hub: self.config().hub.clone(), ..Puller::default() };
        let pulled = tokio::task::spawn_blocking(move || {
            let pulled = puller.pull(&request, &progress);
            drop(one_at_a_time);
            pulled
        });
        pulled.await.map_err(ApiError::internal)?.map_err(pull_error)
    }
}

/// Why a pull that someone asked for failed.
fn pull_error(error: PullError) -> ApiError {
    match error {
        PullError::Source(source) => ApiError::invalid_value("model", source),
        error => ApiError::pull_failed(reasons(&error), error),
    }
}
