//! `GET /props`: what a model is and how it is asked where nothing is said; without `?model=` what the server is.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use models::Descriptor;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::wire::samplers::WINDOW_TOKENS;
use crate::tenancy::Access;

/// `GET /props`.
pub(super) async fn props(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    query: RawQuery,
) -> Result<Json<Value>, ApiError> {
    let mut query = Query::parse(query)?;
    let name = query.one("model")?;
    // Nothing is loaded for this in any case.
    query.one("autoload")?;
    query.finish()?;
    let Some(name) = name else { return Ok(Json(of_server(&app))) };
    let known = app.known_name(&access, &name).await?.ok_or_else(|| ApiError::model_not_found(&name))?;
    let known: Arc<str> = known.into();
    let descriptor = app.descriptor(&known).await?;
    Ok(Json(of_model(&app, &known, &descriptor)))
}

fn of_server(app: &App) -> Value {
    json!({
        "role": "router",
        "models_autoload": true,
        "model_path": "none",
        "total_slots": app.config().scheduler.options.started_per_model_max,
        "default_generation_settings": { "params": null, "n_ctx": 0 },
        "build_info": build_info(),
    })
}

fn of_model(app: &App, name: &str, descriptor: &Descriptor) -> Value {
    let tokenizer = &descriptor.tokenizer;
    let text = |id: Option<u32>| id.map(|id| tokenizer.text(id)).unwrap_or_default();
    json!({
        "default_generation_settings": {
            "n_ctx": app.context_of(descriptor),
            "params": {
                "n_predict": -1,
                "seed": -1,
                "temperature": 0.8,
                "top_k": 40,
                "top_p": 0.95,
                "min_p": 0.05,
                "repeat_last_n": WINDOW_TOKENS,
                "repeat_penalty": 1.0,
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
                "stop": [],
            },
        },
        "total_slots": app.config().scheduler.options.started_per_model_max,
        "model_alias": name,
        // Where a file lies is the operator's to know.
        "model_path": name,
        "chat_template": descriptor.template.as_ref().map(|template| template.source()).unwrap_or_default(),
        "bos_token": text(tokenizer.bos()),
        "eos_token": text(tokenizer.eos()),
        "modalities": { "vision": false, "audio": false },
        "build_info": build_info(),
    })
}

fn build_info() -> &'static str {
    concat!("dayfly-", env!("CARGO_PKG_VERSION"))
}
