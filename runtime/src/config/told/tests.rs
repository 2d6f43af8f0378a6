use std::time::Duration;

use super::values::{size_value, span_text};
use super::*;
use crate::config::file::unknown_key;

/// A file that says something about every key, and nothing that is the default.
const ALL: &str = r#"
listen = "127.0.0.1:1"
models_dirs = ["a", "/b"]
ledger = "l.sqlite"
ledger_retention = "90d"
descriptors_dir = "d"
memory_budget = "700MiB"
ctx_max = 77
threads = 3
isa = "scalar"
keep_alive = "1h30m"
exit_when_idle = "10m"
log = "debug"
links = "followed"
pull = "never"
hf_endpoint = "https://mirror.example"
hosts = ["models.example"]
origins = ["https://app.example"]
anonymous = "refused"
[aliases]
short = "Long.Q4_0"
[chat_templates]
short = "gemma"
[http]
unknown_fields = "accept"
overlong_answers = "cut"
[pool]
busy_turn_max = "1.5s"
residency_min = "500ms"
pinned_percent_max = 50
loads_parallel_max = 3
load_wait_max = "7m"
bring_in = "lazy"
let_go = "cold"
lock = true
[contexts]
dir = "c"
disk_max = "1500000"
[scheduler]
queue_max = 9
queue_per_tenant_max = 3
loading_max = 8
sequences_per_model_max = 2
step_tokens_max = 7
step_wall_max = "5ms"
step_timeout = "7s"
kv_precision = "q8_0"
speculation = "off"
prefix_cache = "1MiB"
prefix_scope = "everyone"
routing = "energy"
routing_slack = 1.5
[response_cache]
memory = "0"
[tenants."a b"]
weight = 3
priority_max = "high"
budgets = ["1000 tokens/day"]
[models.short]
pinned = true
[devices.cpu]
watts_idle = 5
watts_max = 65.5
[energy]
design_watts = 65
[carbon]
grams_per_kwh = 12
source = "mine"
pue = 1.25
[rates]
name = "own"
currency = "EUR"
cpu_hour = 0.25
prompt_token = 0.000001
[savings]
realised_per_hour = -0.5
machines_source = "a list"
[[savings.machines]]
name = "small"
memory = "8GiB"
price_per_hour = 0.05
"#;

fn told(file: &Path, variables: &[(&str, &str)]) -> Told {
    let environment = Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())));
    Config::told(&Layer::default(), Some(file), &environment).unwrap()
}

fn loaded(text: &str, folder: &Path) -> String {
    let path = folder.join("dayfly.toml");
    std::fs::write(&path, text).unwrap();
    let mut config = Config::load(Layer::default(), Some(&path), &Environment::default()).unwrap();
    // What is told is the budget that there is, asked for or not.
    config.memory_budget_asked = None;
    format!("{config:?}")
}

#[test]
fn what_is_told_is_a_file_that_chooses_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for text in [ALL, "", "[carbon]\nplace = 'DE'\n[pool]\noversize = 'page'\n[contexts]\ndir = '/x'\n"] {
        let chosen = loaded(text, folder.path());
        let again = told(&folder.path().join("dayfly.toml"), &[]).to_toml();
        // Where carbon is assumed without a word, a word for the same is no assumption.
        let alike = |config: String| config.replace("quality: Assumed", "quality: Modelled");
        assert_eq!(alike(loaded(&again, folder.path())), alike(chosen), "{again}");
    }
}

#[test]
fn every_key_that_a_file_can_have_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dayfly.toml");
    std::fs::write(&file, "").unwrap();
    let told = told(&file, &[]);
    let error = toml::from_str::<Layer>("nonsense = 1").unwrap_err();
    let (_, known) = unknown_key(error.message()).unwrap();
    // What an operator makes up is told as the file has it.
    let made_up = ["chat_templates", "tenants", "models", "devices", "keys"];
    for key in known.iter().filter(|key| !made_up.contains(key)) {
        let is_it = |one: &Setting| one.key == *key || one.table.path().first().is_some_and(|first| first == key);
        assert!(told.settings.iter().any(is_it), "`config show` does not tell {key}");
    }
    for table in ["pool", "scheduler", "contexts", "response_cache", "energy", "rates"] {
        let error = toml::from_str::<Layer>(&format!("[{table}]\nnonsense = 1")).unwrap_err();
        let listed = unknown_key(error.message());
        // A table with one key alone says so in other words.
        let known = listed.map(|(_, known)| known).unwrap_or_default();
        for key in known {
            let is_it = |one: &Setting| one.key == key && one.table == Table::Named(vec![table.into()]);
            assert!(told.settings.iter().any(is_it), "`config show` does not tell {table}.{key}");
        }
    }
}

#[test]
fn origins_are_lines_variables_and_defaults_and_hashes_are_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dayfly.toml");
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    std::fs::write(
        &file,
        format!("threads = 2\nctx_max = 3\n[pool]\nlock = true\n[[keys]]\ntenant = 't'\nsha256 = '{hash}'\n"),
    )
    .unwrap();
    let told = told(&file, &[("DAYFLY_THREADS", "1"), ("DAYFLY_HOSTS", "a.example")]);
    let origin = |table: &[&str], key: &str| {
        let is_it = |one: &&Setting| one.key == key && one.table.path() == table;
        told.settings.iter().find(is_it).unwrap_or_else(|| panic!("{key}")).origin
    };
    assert_eq!(origin(&[], "threads"), Origin::Environment("DAYFLY_THREADS"));
    assert_eq!(origin(&[], "hosts"), Origin::Environment("DAYFLY_HOSTS"));
    assert_eq!((origin(&[], "ctx_max"), origin(&["pool"], "lock")), (Origin::File(2), Origin::File(4)));
    assert_eq!((origin(&[], "listen"), origin(&["pool"], "let_go")), (Origin::Default, Origin::Default));
    assert_eq!((origin(&["keys"], "tenant"), origin(&["keys"], "sha256")), (Origin::File(6), Origin::File(7)));
    let text = told.to_toml();
    assert!(!text.contains(hash) && text.contains("[[keys]]"), "{text}");
    assert!(text.contains("# DAYFLY_THREADS") && text.contains("dayfly.toml:4"), "{text}");
}

#[test]
fn spans_and_sizes_are_exact() {
    let spans =
        [0, 5, 1500, 61_000, 90_000, 5_400_000, 3_600_000].map(|millis| span_text(Duration::from_millis(millis)));
    assert_eq!(spans, ["0s", "5ms", "1500ms", "61s", "90s", "90m", "1h"]);
    assert_eq!(span_text(Duration::from_micros(1500)), "1.5ms");
    let sizes = [0, 1_500_000, 1 << 20, 3 << 30].map(|bytes| size_value(bytes).as_str().unwrap().to_owned());
    assert_eq!(sizes, ["0", "1500000", "1MiB", "3GiB"]);
}
