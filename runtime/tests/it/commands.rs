//! The command line as whoever types it sees it: what goes where, how it ends, what it suggests, and what shells and `man` are
//! told.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::models::good;

/// `dayfly` with a home of its own, its models in `home/models`, and nothing of the tester's environment.
pub(crate) fn dayfly(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("DAYFLY_MODELS_DIRS", home.join("models")).env("DAYFLY_LISTEN", "127.0.0.1:9");
    command
}

pub(crate) fn ran<S: AsRef<OsStr>>(home: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    dayfly(home).args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command that ends well prints as JSON.
#[track_caller]
pub(crate) fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {}", stdout(output)))
}

/// A home with one model.
pub(crate) fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("models")).unwrap();
    good(&home.path().join("models"));
    home
}

#[test]
fn a_shell_is_told_commands_flags_and_models() {
    let home = home();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let told = ran(home.path(), ["completions", shell]);
        assert!(told.status.success() && stdout(&told).contains("_DAYFLY_COMPLETE"), "{shell}: {}", stderr(&told));
    }
    // What fish's script asks: one candidate on each line, with its description behind a tab.
    let completed = |words: &[&str]| {
        let mut command = dayfly(home.path());
        let told = command.env("_DAYFLY_COMPLETE", "fish").args(["--", "dayfly"]).args(words).output().unwrap();
        assert!(told.status.success(), "{}", stderr(&told));
        let lines = stdout(&told);
        lines.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(completed(&["comp"]).contains(&"completions".to_owned()));
    assert!(completed(&["run", "--temp"]).contains(&"--temperature".to_owned()));
    assert_eq!(completed(&["run", "go"]), ["good"]);
    assert!(completed(&["run", ""]).contains(&"smollm2".to_owned()), "what can be pulled can be run");
    assert_eq!(completed(&["show", "g"]), ["good"], "what is not there cannot be shown");
    assert_eq!(completed(&["pull", "min"]), ["minilm"]);
    assert_eq!(completed(&["bench", "run", "go"]), ["good"]);
    assert_eq!(completed(&["man", "sav"]), ["savings"]);
    for (words, word) in [
        (&["run", "--isa", "sc"][..], "scalar"),
        (&["run", "--links", "conf"], "confined"),
        (&["serve", "--log-format", "js"], "json"),
        (&["key", "create", "--scope", "inf"], "inference"),
    ] {
        assert_eq!(completed(words), [word], "{words:?}");
    }
    // What zsh's calls the first time is what it defines.
    let script = stdout(&ran(home.path(), ["completions", "zsh"]));
    let called = script.lines().last().unwrap().split(' ').find(|word| word.starts_with("_clap")).unwrap();
    assert!(script.contains(&format!("function {called}()")), "{script}");
    // bash's script is one that bash understands.
    let script = stdout(&ran(home.path(), ["completions", "bash"]));
    let checked = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
    assert!(checked.status.success(), "{}", stderr(&checked));
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let home = home();
    let folder = home.path().join("man1");
    let written = ran(home.path(), [OsStr::new("man"), OsStr::new("--dir"), folder.as_os_str()]);
    assert!(written.status.success(), "{}", stderr(&written));
    let pages = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(pages.into_iter().all(|name| !name.contains("help")), "help has no pages");
    let page = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    let main = page("dayfly");
    for name in ["run", "serve", "show", "completions", "key", "bench"] {
        assert!(main.contains(&format!("dayfly\\-{name}(1)")), "{name} is not named");
    }
    assert!(
        main.contains("memory_budget") && main.contains("DAYFLY_THREADS"),
        "configuration and environment are in it"
    );
    assert!(page("dayfly-run").contains("temperature") && page("dayfly-run").contains("EXAMPLES"));
    assert!(page("dayfly-key-create").contains("budget"));
    assert_eq!(stdout(&ran(home.path(), ["man", "key", "create"])).trim_end(), page("dayfly-key-create").trim_end());
    assert_eq!(stdout(&ran(home.path(), ["man", "ls"])), stdout(&ran(home.path(), ["man", "list"])));
    // Where it is installed.
    if let Ok(checked) = Command::new("mandoc").arg("-Tlint").args(all_in(&folder)).output() {
        assert!(checked.status.success() && checked.stdout.is_empty(), "{}", stdout(&checked));
    }
    let none = ran(home.path(), ["man", "serv"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("did you mean serve?"), "{}", stderr(&none));
}

fn all_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = home();
    let lines = [
        &["list"][..],
        &["--help"],
        &["show", "good"],
        &["config", "show"],
        &["man", "run"],
        &["completions", "bash"],
        &["list", "--json"],
    ];
    for line in lines {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = dayfly(home.path()).args(line).stdout(writer).output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{line:?}: {}", stderr(&ended));
    }
}

#[test]
fn what_is_mistyped_is_told_with_what_was_meant_and_without_colours() {
    let home = home();
    for (line, code, word) in [
        (&["lst"][..], 2, "'list'"),
        (&["run", "good", "x", "--temprature", "1"], 2, "'--temperature'"),
        (&["show", "god"], 3, "did you mean good?"),
        (&["run", "god", "hello"], 3, "did you mean good?"),
        (&["config", "chek"], 2, "'check'"),
        (&["ps"], 4, "dayfly serve"),
    ] {
        let told = ran(home.path(), line);
        assert_eq!(told.status.code(), Some(code), "{line:?}: {}", stderr(&told));
        assert!(stderr(&told).contains(word) && told.stdout.is_empty(), "{line:?}: {}", stderr(&told));
        assert!(!stderr(&told).contains('\u{1b}'), "{line:?}: {}", stderr(&told));
    }
}

#[test]
fn the_doctor_says_what_is_wrong_by_its_exit_status() {
    let home = home();
    let empty = home.path().join("no-sensors");
    std::fs::create_dir(&empty).unwrap();
    let doctor = |flags: &[&str]| {
        let mut command = dayfly(home.path());
        command.args(["doctor", "--root"]).arg(&empty).args(flags).output().unwrap()
    };
    let told = json_of(&doctor(&["--json"]));
    assert_eq!(told["models_dirs"][0]["state"], "writable", "{told}");
    assert_eq!(
        (&told["ledger"]["state"], &told["ledger"]["folder"]["state"]),
        (&"to_be_made".into(), &"to_be_made".into())
    );
    let machine = &told["machine"];
    assert!(machine["page_bytes"].as_u64().unwrap() >= 4096 && machine["features"].is_array(), "{told}");
    let problems = |told: &Value| {
        let all = told["findings"].as_array().unwrap();
        all.iter().filter(|finding| finding["severity"] == "problem").count()
    };
    assert_eq!(problems(&told), 0, "{told}");
    let file = home.path().join("models/good.gguf");
    let ledger = home.path().join(".local/state/dayfly/ledger.sqlite");
    std::fs::create_dir_all(ledger.parent().unwrap()).unwrap();
    std::fs::write(&ledger, "no ledger at all, and long enough to be looked at as one".repeat(20)).unwrap();
    let wrong = doctor(&["--models-dir", file.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(stderr(&wrong), "dayfly: there are 2 problems\n", "{}", stdout(&wrong));
    assert!(stdout(&wrong).contains("good.gguf is no folder of models"), "{}", stdout(&wrong));
    assert!(stdout(&wrong).contains("ledger.sqlite cannot be read: "), "{}", stdout(&wrong));
}
