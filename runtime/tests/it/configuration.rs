//! `dayfly config check` and `config show`, and what every command says of a configuration that is wrong.

use std::fs;

use serde_json::json;

use crate::commands::{dayfly, home, json_of, ran, stderr, stdout};

#[test]
fn all_faults_are_told_at_once_with_their_lines_and_the_nearest_keys() {
    let home = home();
    let file = home.path().join("bad.toml");
    fs::write(&file, "listne = '127.0.0.1:1'\nthreads = 'two'\n[pool]\npinned_percent_max = 200\n").unwrap();
    let path = file.to_str().unwrap();
    let checked = ran(home.path(), ["config", "check", path]);
    assert_eq!(checked.status.code(), Some(2));
    let lines: Vec<String> = stdout(&checked).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], format!("{path}:1: the key \"listne\" is not known (did you mean listen?)"));
    assert!(lines[1].starts_with(&format!("{path}:2: threads: ")), "{lines:?}");
    assert!(lines[2].starts_with(&format!("{path}:4: ")) && lines[2].contains("at most 100"), "{lines:?}");
    assert_eq!(stderr(&checked), "dayfly: the configuration has 3 faults\n");
    let told = ran(home.path(), ["config", "check", path, "--json"]);
    assert_eq!(told.status.code(), Some(2));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["valid"], &told["faults"][0]["line"]), (&json!(false), &json!(1)));
    assert_eq!((&told["faults"][0]["key"], &told["faults"][0]["nearest"]), (&json!("listne"), &json!("listen")));
    // Any other command says the same of the file's keys, before it does anything.
    let refused = ran(home.path(), ["--config", path, "list"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains(&lines[0]) && stderr(&refused).contains(&lines[1]), "{}", stderr(&refused));
}

#[test]
fn a_configuration_without_a_fault_is_said_to_be_valid() {
    let home = home();
    let checked = ran(home.path(), ["config", "check"]);
    assert!(checked.status.success() && stdout(&checked).starts_with("there is no "), "{}", stdout(&checked));
    let file = home.path().join(".config/dayfly/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "ctx_max = 99\n").unwrap();
    let checked = ran(home.path(), ["config", "check"]);
    assert_eq!(stdout(&checked), format!("{} is valid\n", file.display()));
    let wrong = dayfly(home.path()).args(["config", "check"]).env("DAYFLY_THREADS", "none").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stdout(&wrong).contains("DAYFLY_THREADS"), "{}", stdout(&wrong));
    let missing = ran(home.path(), ["config", "check", "none.toml"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
}

#[test]
fn what_is_effective_is_shown_with_where_it_is_from() {
    let home = home();
    let file = home.path().join("dayfly.toml");
    fs::write(&file, "ctx_max = 99\n[scheduler]\nqueue_max = 7\n").unwrap();
    let mut command = dayfly(home.path());
    command.args(["config", "show", "--no-pull", "--config"]).arg(&file).env("DAYFLY_API_KEY", "dfk_secret");
    let shown = stdout(&command.output().unwrap());
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {shown}"));
    for (key, value, origin) in [
        ("ctx_max", "99", format!("{}:1", file.display())),
        ("queue_max", "7", format!("{}:3", file.display())),
        ("listen", "\"127.0.0.1:9\"", "DAYFLY_LISTEN".into()),
        ("pull", "\"never\"", "--no-pull".into()),
        ("keep_alive", "\"5m\"", "default".into()),
    ] {
        let line = line(key);
        assert!(line.starts_with(&format!("{key} = {value} ")) && line.ends_with(&format!("# {origin}")), "{line}");
    }
    assert!(shown.contains("# ledger_retention is not set") && !shown.contains("dfk_secret"), "{shown}");
    let told = json_of(&command.arg("--json").output().unwrap());
    let settings = told["settings"].as_array().unwrap();
    let queue = settings.iter().find(|one| one["key"] == json!(["scheduler", "queue_max"])).unwrap();
    assert_eq!(queue, &json!({ "key": ["scheduler", "queue_max"], "value": 7, "origin": "file", "at": 3 }));
}
