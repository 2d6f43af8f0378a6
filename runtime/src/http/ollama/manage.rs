//! Which models there are and which are in memory, what one is, and deleting one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::{Extension, Json};
use loader::catalog::{CatalogError, Entry};
use loader::gguf::{Header, Value as HeaderValue};
use models::Descriptor;
use scheduler::{ModelSnapshot, ModelState};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::request::model;
use super::time_text;
use crate::app::App;
use crate::facts::{Facts, Task};
use crate::http::body::JsonBody;
use crate::http::error::ApiError;
use crate::http::model_changes::let_go;
use crate::http::wire::parse_object;
use crate::loading::tagged;
use crate::tenancy::Access;

/// When what is kept for ever is said to go.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `GET /api/tags`: each model by every name that it can be asked for by, as copies of it would be listed there.
pub(super) async fn tags(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Json<Value>, ApiError> {
    let listed = tokio::task::spawn_blocking(move || {
        let mut entries = app.models.list();
        entries.retain(|entry| access.may_use(&entry.name));
        let facts = app.facts.of_all(&entries);
        let named = named(&entries, app.models.aliases()).into_iter();
        named.map(|(name, index)| tag(name, &entries[index], facts[index].as_deref())).collect::<Vec<Value>>()
    });
    Ok(Json(json!({ "models": listed.await.map_err(ApiError::internal)? })))
}

/// Every name that means one of `entries`, in order, and which of them. An alias of one of them wins over a true name.
fn named<'a>(entries: &'a [Entry], aliases: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, usize> {
    let mut named: BTreeMap<&str, usize> =
        entries.iter().enumerate().map(|(index, entry)| (entry.name.as_str(), index)).collect();
    let meant: Vec<_> =
        aliases.iter().filter_map(|(alias, name)| Some((alias.as_str(), *named.get(name.as_str())?))).collect();
    named.extend(meant);
    named
}

fn tag(name: &str, entry: &Entry, facts: Option<&Facts>) -> Value {
    let name = tagged(name);
    json!({
        "name": name,
        "model": name,
        "modified_at": time_text(modified(entry)),
        "size": entry.size_bytes,
        "digest": digest(entry),
        "details": details(facts),
    })
}

fn modified(entry: &Entry) -> SystemTime {
    std::fs::metadata(&entry.path).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH)
}

/// What tells this version of the model's files from others.
fn digest(entry: &Entry) -> String {
    let Ok(identity) = entry.identity() else { return String::new() };
    let mut hasher = Sha256::new();
    identity.words().iter().for_each(|word| hasher.update(word.to_le_bytes()));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn details(facts: Option<&Facts>) -> Value {
    let Some(facts) = facts else {
        return json!({
            "parent_model": "", "format": "", "family": "", "families": null, "parameter_size": "", "quantization_level": "",
        });
    };
    json!({
        "parent_model": "",
        "format": facts.format,
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": facts.parameters_text(),
        "quantization_level": facts.quantization,
    })
}

/// `GET /api/ps`: what is in memory, on whatever device.
pub(super) async fn running(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Json<Value>, ApiError> {
    let snapshots = app.devices.snapshots().await;
    let is_there = |model: &ModelSnapshot| matches!(model.state, ModelState::Resident | ModelState::Idle);
    let mut there = Vec::new();
    for (device, snapshot) in app.devices.iter().zip(&snapshots) {
        let is_host = device.way.is_of_host();
        let models = snapshot.models.iter().filter(|model| is_there(model) && access.may_use(&model.name));
        there.extend(models.map(|model| (model.clone(), if is_host { 0 } else { model.weights_bytes })));
    }
    let told = tokio::task::spawn_blocking(move || {
        let one = |(model, card_bytes): &(ModelSnapshot, u64)| process(&app, model, *card_bytes);
        there.iter().map(one).collect::<Vec<Value>>()
    });
    Ok(Json(json!({ "models": told.await.map_err(ApiError::internal)? })))
}

fn process(app: &App, model: &ModelSnapshot, card_bytes: u64) -> Value {
    let entry = app.models.entry(&model.name).ok();
    let facts = entry.as_ref().and_then(|entry| app.facts.of(entry));
    // While requests hold it, its time has not begun.
    let left = model.expires_in.unwrap_or(match model.keep_alive {
        scheduler::KeepAlive::For(time) if !model.pinned => time,
        scheduler::KeepAlive::DropAfterUse if !model.pinned => Duration::ZERO,
        _ => FOR_EVER,
    });
    let name = tagged(&model.name);
    json!({
        "name": name,
        "model": name,
        "size": model.weights_bytes,
        "size_vram": card_bytes,
        "digest": entry.as_ref().map(digest).unwrap_or_default(),
        "details": details(facts.as_deref()),
        "expires_at": time_text(SystemTime::now() + left),
        "context_length": facts.map(|facts| app.context_within(facts.context_length)),
    })
}

/// `POST /api/show`: `{"model", "verbose"?}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<Json<Value>, ApiError> {
    let (name, arrays) = show_request(&body.bytes)?;
    let known = app.known_name(&access, &name).await?.ok_or_else(|| ApiError::model_not_found(&name))?;
    let known: Arc<str> = known.into();
    let descriptor = app.descriptor(&known).await?;
    let told = tokio::task::spawn_blocking(move || {
        let entry = app.models.entry(&known).map_err(|_| ApiError::model_not_found(&name))?;
        Ok(shown(&entry, app.facts.of(&entry).as_deref(), &descriptor, arrays))
    });
    told.await.map_err(ApiError::internal)?.map(Json)
}

/// What becomes of arrays, which may have a hundred thousand elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrays {
    Whole,
    Null,
}

fn show_request(body: &[u8]) -> Result<(String, Arrays), ApiError> {
    let mut fields = parse_object(body)?;
    let name = model(&mut fields)?;
    let arrays = if fields.flag("verbose")?.unwrap_or(false) { Arrays::Whole } else { Arrays::Null };
    fields.finish()?;
    Ok((name, arrays))
}

fn shown(entry: &Entry, facts: Option<&Facts>, descriptor: &Descriptor, arrays: Arrays) -> Value {
    let header = descriptor.header();
    let license = header.string("general.license").ok().flatten().unwrap_or_default();
    let template = descriptor.template.as_ref().map(|template| template.source()).unwrap_or_default();
    json!({
        "license": license,
        "modelfile": format!("FROM {}\n", entry.name),
        "parameters": "",
        "template": template,
        "details": details(facts),
        "model_info": model_info(header, facts, arrays),
        "capabilities": facts.map(|facts| capabilities(facts.task, descriptor)).unwrap_or_default(),
        "modified_at": time_text(modified(entry)),
    })
}

/// What a model was made for. Tools may be offered to others as well, which are told of them in the system message.
fn capabilities(task: Task, descriptor: &Descriptor) -> Vec<&'static str> {
    let template = descriptor.template.as_ref();
    match task {
        Task::Generation => {
            let tools = template.filter(|template| template.knows_tools()).map(|_| "tools");
            let thinking = template.filter(|template| template.knows_thinking()).map(|_| "thinking");
            ["completion"].into_iter().chain(tools).chain(thinking).collect()
        }
        Task::Embedding => vec!["embedding"],
        // Ollama has no word for it.
        Task::Ranking => Vec::new(),
    }
}

/// The header's keys and values; its template is told elsewhere.
fn model_info(header: &Header, facts: Option<&Facts>, arrays: Arrays) -> Value {
    let mut info = Map::new();
    for (key, value) in header.entries().filter(|(key, _)| *key != "tokenizer.chat_template") {
        let told = match value {
            HeaderValue::Unsigned(number) => json!(number),
            HeaderValue::Signed(number) => json!(number),
            HeaderValue::Float(number) => json!(number),
            HeaderValue::Bool(flag) => json!(flag),
            HeaderValue::String(bytes) => json!(String::from_utf8_lossy(bytes)),
            HeaderValue::Array { .. } if arrays == Arrays::Whole => array(header, key),
            HeaderValue::Array { .. } => Value::Null,
        };
        info.insert(key.to_owned(), told);
    }
    if let Some(facts) = facts {
        info.insert("general.parameter_count".to_owned(), json!(facts.parameters));
    }
    Value::Object(info)
}

fn array(header: &Header, key: &str) -> Value {
    if let Ok(Some(strings)) = header.strings(key) {
        return strings.iter().map(|bytes| json!(String::from_utf8_lossy(bytes))).collect();
    }
    if let Ok(Some(numbers)) = header.i32s(key) {
        return json!(numbers);
    }
    header.f32s(key).ok().flatten().map_or(Value::Null, |numbers| json!(numbers))
}

/// `DELETE /api/delete`: `{"model"}`. It leaves memory as soon as nobody uses it.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    body: JsonBody,
) -> Result<(), ApiError> {
    let mut fields = parse_object(&body.bytes)?;
    let name = model(&mut fields)?;
    fields.finish()?;
    let known = app.known_name(&access, &name).await?.ok_or_else(|| ApiError::model_not_found(&name))?;
    let (removing, gone) = (Arc::clone(&app), known.clone());
    let removed = tokio::task::spawn_blocking(move || removing.models.remove(&gone));
    removed.await.map_err(ApiError::internal)?.map_err(|error| match error {
        CatalogError::NotFound { .. } => ApiError::model_not_found(&name),
        CatalogError::NotOurs { .. } => {
            ApiError::model_not_deletable("a file of it is a link or no file: it is not this server's to delete")
                .because(error)
        }
        CatalogError::Unreadable { .. } | CatalogError::NotRemoved { .. } => ApiError::internal(error),
    })?;
    // Pinned ones stay in memory until they are unpinned.
    let_go(&app, &known).await.map(|_| ())
}
