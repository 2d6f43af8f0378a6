//! What is shipped for whoever operates the server: units, dashboard and alerts, held against the binary and what it tells.
//!
//! `systemd-analyze` and `promtool` check their files as well, where they are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{post, request, until};
use crate::keys::{bearer, create, send_as};
use crate::models::{good, slow, write};
use crate::server::{Options, SOON, Server};

/// Labels that Prometheus itself adds.
const ADDED: [&str; 2] = ["instance", "le"];

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deployed(path)).unwrap()
}

/// What a program that may not be there says of its arguments; nothing where it is not.
fn checked_by(program: &str, arguments: &[&Path]) -> Option<String> {
    let (first, rest) = arguments.split_first().unwrap();
    let mut command = Command::new(program);
    let output = command.args(first.to_str().unwrap().split(' ')).args(rest).output().ok()?;
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{program}: {told}");
    Some(told)
}

#[test]
fn units_have_flags_that_there_are_and_are_valid() {
    let unit = read("systemd/dayfly.service");
    let started = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/dayfly ")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_dayfly")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: Vec<&str> = started.split(' ').filter(|word| word.starts_with("--")).collect();
    assert!(flags.contains(&"--exit-when-idle") && started.starts_with("serve "), "{started}");
    for flag in flags {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "{flag}");
    }
    let folder = tempfile::tempdir().unwrap();
    let here = unit.replace("/usr/bin/dayfly", env!("CARGO_BIN_EXE_dayfly"));
    fs::write(folder.path().join("dayfly.service"), here).unwrap();
    fs::copy(deployed("systemd/dayfly.socket"), folder.path().join("dayfly.socket")).unwrap();
    let units = ["dayfly.service", "dayfly.socket"].map(|name| folder.path().join(name));
    let told = checked_by("systemd-analyze", &[Path::new("verify --man=no"), &units[0], &units[1]]);
    assert!(told.is_none_or(|told| !told.contains("dayfly.")), "nothing to say of ours");
}

#[test]
fn the_image_asks_for_health_by_a_command_that_there_is() {
    let file = read("Dockerfile");
    assert!(
        file.contains("CMD [\"dayfly\", \"health\"]")
            && file.contains("STOPSIGNAL SIGTERM")
            && file.contains("USER 10001")
    );
    // Wherever they lie: a pattern without `**` is about the root alone.
    for ignored in ["**/target", "**/node_modules", "**/*.gguf", "**/*.safetensors", "**/*.sqlite*"] {
        assert!(read("Dockerfile.dockerignore").lines().any(|line| line == ignored), "{ignored}");
    }
    let server = Server::serving(good);
    let health = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
        command.args(["health", "--server", url]).env_clear().env("HOME", server.home()).output().unwrap()
    };
    let url = format!("http://{}", server.address());
    let output = health(&url);
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap()),
        (Some(0), format!("{url} is ready\n"))
    );
    // A key is asked for by now, and not for this.
    create(&server, &["--tenant", "acme"]);
    assert_eq!(health(&url).status.code(), Some(0));
    drop(server.into_options());
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    let gone = command.args(["health", "--server", &url]).env_clear().env("HOME", "/nonexistent").output().unwrap();
    assert_eq!(gone.status.code(), Some(4), "{}", String::from_utf8_lossy(&gone.stderr));
}

/// The figures of a server to which everything has happened that is told of.
struct Scrape {
    /// Of each family what it is.
    kinds: BTreeMap<String, String>,
    /// Of each series' name the labels that it has.
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Scrape {
    fn of(text: &str) -> Self {
        let (mut kinds, mut labels) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                labels.entry(name.to_owned()).or_default().extend(label_names(line));
            }
        }
        Self { kinds, labels }
    }

    /// What the family of a series is.
    fn kind(&self, series: &str) -> &str {
        let families = ["_total", "_bucket", "_sum", "_count", ""].map(|end| series.strip_suffix(end));
        families.into_iter().flatten().find_map(|family| self.kinds.get(family)).map_or("unknown", String::as_str)
    }
}

/// Names before `=` in the first braces.
fn label_names(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once('{') else { return Vec::new() };
    let (mut names, mut name, mut is_quoted) = (Vec::new(), String::new(), false);
    for character in rest.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '}' => break,
            '=' | '!' if !name.is_empty() => names.push(std::mem::take(&mut name)),
            _ if character.is_ascii_alphanumeric() || character == '_' => name.push(character),
            _ => name.clear(),
        }
    }
    names
}

/// Loads, failures, refusals, evictions and answers, with and without keys.
fn eventful() -> (Server, String) {
    let server = Options::with_models(|folder| {
        good(folder);
        write(folder, "slow", &slow());
        fs::write(folder.join("bad.gguf"), b"no model").unwrap();
    });
    let server = server.start();
    server.answers("good");
    server.complete(&json!({ "model": "slow", "prompt": "x", "max_tokens": 3, "ignore_eos": true })).ok();
    preempt(&server);
    server.post("/models/unload", &json!({ "model": "good" })).ok();
    let admin =
        bearer(&create(&server, &["--tenant", "ops", "--scope", "admin", "--scope", "read", "--scope", "inference"]));
    assert_eq!(server.send(&post("/v1/completions", &json!({}))).status, 401);
    (server, admin)
}

/// Two sequences that fit one after the other, and not beside each other: the memory of one is taken for the other.
fn preempt(server: &Server) {
    let weights_bytes = server.model("slow")["weights_bytes"].as_u64().unwrap();
    let budget = json!({ "memory_budget": (weights_bytes + (4 << 20)).to_string() });
    server.post("/models/budget", &budget).ok();
    until("one was preempted", 3 * SOON, || {
        let body = json!({ "model": "slow", "prompt": "on and on", "max_tokens": 1500, "ignore_eos": true });
        let mut streams = [server.stream(&body), server.stream(&body)];
        streams.iter_mut().for_each(|stream| drop(stream.finish()));
        (server.metric("dayfly_preemptions_total{model=\"slow\"}") > 0.0).then_some(())
    });
}

fn scraped(server: &Server, admin: &str) -> Scrape {
    let told = |text: &str| {
        let wanted =
            ["dayfly_saved_cost{", "dayfly_device_energy_joules_total{", "dayfly_account_energy_joules_total{"];
        wanted.iter().all(|series| text.contains(series)) && text.contains("dayfly_model_evictions_total{")
    };
    let text = until("all has been told", 3 * SOON, || {
        // It is set aside for a few seconds each time.
        send_as(server, admin, ("POST", "/v1/completions"), &json!({ "model": "bad", "prompt": "x" }));
        let response = server.send(&request("GET", "/metrics", &[admin], b""));
        assert_eq!(response.status, 200, "{response}");
        Some(response.text()).filter(|text| told(text))
    });
    Scrape::of(&text)
}

/// The expressions of the dashboard with the labels that are shown of each, and those of the alerts.
fn expressions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("grafana/dayfly.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let otherwise = &panel["fieldConfig"]["defaults"]["noValue"];
        assert!(otherwise.is_string(), "{} says nothing where there is nothing", panel["title"]);
    }
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = targets.map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect();
    assert!(all.len() > 40, "{}", all.len());
    let alerts = read("prometheus/alerts.yml");
    let before = all.len();
    all.extend(alerts.lines().filter_map(|line| Some((line.trim().strip_prefix("expr: ")?.to_owned(), String::new()))));
    assert_eq!(all.len() - before, alerts.matches("- alert: ").count());
    for part in ["severity:", "summary:", "runbook:"] {
        assert_eq!(alerts.matches(part).count(), all.len() - before, "each alert has its {part}");
    }
    all
}

/// What is before each `dayfly_` in `expression`, its name, and what is behind.
fn series_of(expression: &str) -> Vec<(&str, &str, &str)> {
    let starts = expression.match_indices("dayfly_").map(|(at, _)| at);
    let parts = starts.map(|at| {
        let rest = &expression[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        (&expression[..at], &rest[..end], &rest[end..])
    });
    parts.collect()
}

/// The names in each `by (…)`.
fn grouped(expression: &str) -> Vec<&str> {
    let groups = expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    groups.flat_map(|group| group.split(", ")).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_what_is_told() {
    let (server, admin) = eventful();
    let scrape = scraped(&server, &admin);
    let mut unheard = BTreeSet::new();
    for (expression, legend) in expressions() {
        let mut known: BTreeSet<&str> = ADDED.into();
        for (before, name, after) in series_of(&expression) {
            let kind = scrape.kind(name);
            if kind == "unknown" {
                unheard.insert(name.to_owned());
                continue;
            }
            let is_over_time = ["rate(", "increase("].iter().any(|function| before.ends_with(function));
            // What came with its series: `x unless x offset 15m`.
            let is_new = before.ends_with("unless ") || after.contains(" unless ") && before.ends_with("or (");
            let has_growth =
                kind == "counter" && name.ends_with("_total") || kind == "histogram" && name.ends_with("_bucket");
            assert_eq!(is_over_time || is_new, has_growth, "{name} is a {kind}: {expression}");
            let labels = &scrape.labels[name];
            let asked = if after.starts_with('{') { label_names(after) } else { Vec::new() };
            for label in &asked {
                assert!(
                    ADDED.contains(&label.as_str()) || labels.contains(label),
                    "{name} has no {label}: {expression}"
                );
            }
            known.extend(labels.iter().map(String::as_str));
        }
        if unheard.is_empty() {
            let shown = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            let groups = grouped(&expression);
            for label in groups.iter().copied().chain(shown.clone()) {
                assert!(known.contains(label), "nothing has {label}: {expression}");
            }
            assert!(groups.is_empty() || shown.clone().all(|label| groups.contains(&label)), "{legend}: {expression}");
        }
        let is_quantile = expression.contains("histogram_quantile(");
        assert_eq!(is_quantile, expression.contains("_bucket"), "{expression}");
        assert!(!is_quantile || grouped(&expression).contains(&"le"), "{expression}");
    }
    assert!(unheard.is_empty(), "the server does not tell {unheard:?}");
    // What is everyone's together is not for whoever only reads.
    let reader = bearer(&create(&server, &["--tenant", "acme"]));
    let seen = send_as(&server, &reader, ("GET", "/metrics"), &Value::Null).text();
    assert!(seen.contains("dayfly_pool_limit_bytes") && !seen.contains("\ndayfly_saved_"));
}

#[test]
fn alerts_are_valid_and_fire() {
    let alerts = deployed("prometheus/alerts.yml");
    let tested = read("prometheus/alerts.test.yml");
    for name in read("prometheus/alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tested.contains(&format!("alertname=\"{name}\"")), "no test has {name} fire");
    }
    if let Some(told) = checked_by("promtool", &[Path::new("check rules"), &alerts]) {
        assert!(told.contains("SUCCESS"), "{told}");
        checked_by("promtool", &[Path::new("test rules"), &deployed("prometheus/alerts.test.yml")]);
    }
}
