//! `dayfly ps`

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::flags::{Context, block_on};
use super::output::{self, Column, Format, seconds_text, table};
use super::reach;
use crate::client::{Client, ClientError};
use crate::config::{Layer, bytes_text};

/// Show which models a running server has in memory
///
/// And the budget, and what was unloaded lately and why. It wakes nothing.
#[derive(Args, Debug)]
pub(super) struct Ps {
    /// Also show models that are not in memory
    #[arg(long, short)]
    all: bool,
}

impl Ps {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let config = context.config(Layer::default())?;
        let states = block_on(async {
            let client = reach::running(context, &config).await?;
            Ok(client.get("/models").await?)
        })?;
        match context.format() {
            Format::Json => output::print_json(&states),
            Format::Text => output::print(self.text(&states)),
        }
    }

    fn text(&self, states: &Value) -> String {
        let models = states["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rows = models.iter().filter(|model| self.all || status(model) != "unloaded").map(row);
        let devices = states["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let columns = [
            Column::Left("NAME"),
            Column::Left("STATUS"),
            Column::Left("DEVICE"),
            Column::Right("WEIGHTS"),
            Column::Left("KV"),
            Column::Right("REQUESTS"),
            Column::Right("LOADS"),
            Column::Right("UNLOADS IN"),
            Column::Left("LAST LOAD"),
        ];
        let bytes = |name: &str| bytes_text(states["memory"][name].as_u64().unwrap_or(0));
        let mut text = table(&columns, rows);
        text.push_str(&format!("\n\nmemory: {} of {} held", bytes("used_bytes"), bytes("limit_bytes")));
        if let Some(unused @ 1..) = states["memory"]["prefix_cache"]["unused_bytes"].as_u64() {
            text.push_str(&format!(", {} of it cached pages that no request uses", bytes_text(unused)));
        }
        text.push('\n');
        // What is held is told of each, where there are several.
        for device in devices.iter().filter(|_| devices.len() > 1) {
            text.push_str(&device_line(device));
        }
        for eviction in states["evictions"].as_array().into_iter().flatten().rev() {
            let ago = eviction["seconds_ago"].as_f64().unwrap_or(0.0);
            text.push_str(&format!(
                "{} ago: {} unloaded ({}), unused for {}\n",
                seconds_text(ago),
                eviction["model"].as_str().unwrap_or("?"),
                eviction["cause"].as_str().unwrap_or("?"),
                seconds_text(eviction["idle_seconds"].as_f64().unwrap_or(0.0)),
            ));
        }
        text.trim_end().to_owned()
    }
}

/// Whether the server has a model that goes by `name`.
///
/// # Errors
/// As [`Client::get`]; that it is not found, if so.
pub(super) async fn one(client: &Client, name: &str) -> Result<(), ClientError> {
    client.get(&format!("/v1/models/{}", path_part(name))).await.map(|_| ())
}

/// A name as it stands in a path.
fn path_part(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let part = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(part).collect()
}

/// The names of all models that the server knows.
pub(super) async fn names(client: &Client) -> Result<Vec<String>, ClientError> {
    let states = client.get("/models").await?;
    let models = states["data"].as_array().into_iter().flatten();
    let names = models.filter_map(|model| model["id"].as_str().map(str::to_owned));
    Ok(names.chain(loader::pull::KNOWN.iter().map(|known| known.alias.to_owned())).collect())
}

/// `loaded`, `loading`, `unloading` or `unloaded`.
pub(super) fn status(model: &Value) -> &str {
    model.pointer("/status/value").and_then(Value::as_str).unwrap_or("unloaded")
}

/// A device's memory, and what it has to do.
fn device_line(device: &Value) -> String {
    let bytes = |name: &str| bytes_text(device["memory"][name].as_u64().unwrap_or(0));
    format!(
        "device {} ({}): {} of {} held, {} of work before it\n",
        device["id"].as_str().unwrap_or("?"),
        device["kind"].as_str().unwrap_or("?"),
        bytes("used_bytes"),
        bytes("limit_bytes"),
        seconds_text(device["backlog_seconds"].as_f64().unwrap_or(0.0)),
    )
}

/// The devices that have a model, with what state it is in on each if they are several.
fn devices_of(model: &Value) -> String {
    let devices = model["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |device: &Value| device["id"].as_str().unwrap_or("?").to_owned();
    match devices {
        [] => "-".into(),
        [one] => name(one),
        several => {
            let told = |device| format!("{} ({})", name(device), device["state"].as_str().unwrap_or("?"));
            several.iter().map(told).collect::<Vec<_>>().join(", ")
        }
    }
}

fn row(model: &Value) -> Vec<String> {
    let count = |name: &str| model[name].as_u64();
    let number = |name: &str| count(name).map_or("-".into(), |count| count.to_string());
    let state = model.pointer("/status/state").and_then(Value::as_str);
    let expires = match (state, model["expires_in_seconds"].as_f64()) {
        _ if model["pinned"] == true => "pinned".into(),
        (_, Some(seconds)) => seconds_text(seconds),
        (Some("idle"), None) => "never".into(),
        _ => "-".into(),
    };
    vec![
        model["id"].as_str().unwrap_or("?").to_owned(),
        state.unwrap_or_else(|| status(model)).to_owned(),
        devices_of(model),
        count("weights_bytes").map_or("-".into(), |bytes| bytes_text(bytes).to_string()),
        model["kv_precision"].as_str().unwrap_or("-").to_owned(),
        number("leases"),
        number("loads"),
        expires,
        last_load(model),
    ]
}

/// How long the last load took, and where its bytes came from.
fn last_load(model: &Value) -> String {
    let Some(seconds) = model["last_load_seconds"].as_f64() else { return "-".into() };
    let source = match model.pointer("/last_load_source/label").and_then(Value::as_str) {
        Some("page_cache_warm") => ", page cache",
        Some("page_cache_cold") => ", disk",
        _ => "",
    };
    format!("{}{source}", seconds_text(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_in_memory_is_shown_unless_all_is_asked_for() {
        let states = json!({
            "data": [
                { "id": "a", "status": { "value": "loaded", "state": "idle" }, "weights_bytes": 1 << 20,
                  "devices": [{ "id": "cpu", "state": "idle" }, { "id": "gpu", "state": "resident" }],
                  "kv_precision": "q8_0", "leases": 0, "loads": 3, "expires_in_seconds": 12.0, "last_load_seconds": 0.004,
                  "last_load_source": { "label": "page_cache_warm" } },
                { "id": "b", "status": { "value": "unloaded" } },
            ],
            "memory": { "used_bytes": 1 << 20, "limit_bytes": 1 << 30 },
            "devices": [
                { "id": "cpu", "kind": "cpu", "memory": { "used_bytes": 0, "limit_bytes": 1 << 29 } },
                { "id": "gpu", "kind": "cuda", "memory": { "used_bytes": 1 << 20, "limit_bytes": 1 << 29 },
                  "backlog_seconds": 1.5 },
            ],
            "evictions": [{ "model": "b", "cause": "idle", "idle_seconds": 5.0, "seconds_ago": 2.0 }],
        });
        let text = Ps { all: false }.text(&states);
        assert!(
            text.contains("idle")
                && text.contains("q8_0")
                && text.contains("12.0 s")
                && text.contains("1.0 MiB of 1.0 GiB"),
            "{text}"
        );
        assert!(text.contains("4.00 ms, page cache"), "{text}");
        assert!(text.ends_with("2.00 s ago: b unloaded (idle), unused for 5.00 s"), "{text}");
        assert!(text.contains("cpu (idle), gpu (resident)"), "{text}");
        assert!(text.contains("device gpu (cuda): 1.0 MiB of 512 MiB held, 1.50 s of work"), "{text}");
        assert!(!text.contains("unloaded  "), "{text}");
        assert!(Ps { all: true }.text(&states).contains("unloaded  "));
    }
}
