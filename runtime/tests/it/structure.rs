//! The shape of the repository: who depends on whom, where `unsafe` stands, what lies at the top.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our crates each one uses. Whatever changes here changes the design.
const EDGES: &[(&str, &[&str])] = &[
    ("dayfly", &["ledger", "loader", "meter", "models", "scheduler"]),
    ("ledger", &["meter"]),
    ("meter", &[]),
    ("scheduler", &[]),
    ("loader", &["mapping"]),
    ("mapping", &[]),
    ("models", &["kernels", "loader"]),
    ("kernels", &[]),
];

/// Edges beside the design's, each with its reason.
const FURTHER_EDGES: &[(&str, &str, &str)] =
    &[("dayfly", "kernels", "names the instructions that the configuration may choose, and the cache of a sequence")];

/// May use every crate of ours.
const BENCHES: &str = "benches";

/// Who may know these libraries (and those whose names begin so).
const CONFINED: &[(&str, &[&str])] = &[("candle", &["models", "benches"]), ("tokio", &["dayfly", "scheduler"])];

/// The only folders with `unsafe`.
const UNSAFE_FOLDERS: [&str; 2] = ["loader/mapping", "models/kernels"];

/// What lies at the top, beside files that begin with a dot and what git ignores.
const TOP_LEVEL: [&str; 9] =
    ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "loader", "models", "runtime", "scheduler"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Names of what each of our crates is built from; tests may use more.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let own = package["dependencies"].as_array().unwrap();
            (name(package), own.iter().filter(|one| one["kind"] != "dev").map(name).collect())
        })
        .collect()
}

#[test]
fn crates_depend_on_each_other_as_designed() {
    let dependencies = dependencies();
    let ours: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    let designed: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).chain([BENCHES]).collect();
    assert_eq!(ours, designed, "a crate came or went");
    for (name, designed) in EDGES {
        let further = FURTHER_EDGES.iter().filter(|(from, ..)| from == name).map(|(_, to, _)| *to);
        let designed: BTreeSet<&str> = designed.iter().copied().chain(further).collect();
        let found: BTreeSet<&str> =
            dependencies[*name].iter().map(String::as_str).filter(|one| ours.contains(one)).collect();
        assert_eq!(found, designed, "{name}");
    }
    for (name, found) in &dependencies {
        assert!(!found.contains(BENCHES), "{name} uses what measures it");
    }
}

#[test]
fn kernels_need_nothing_but_the_standard_library() {
    assert_eq!(dependencies()["kernels"], BTreeSet::new());
}

#[test]
fn libraries_stay_where_they_belong() {
    for (name, found) in dependencies() {
        for (library, allowed) in CONFINED {
            let uses = found.iter().any(|one| one == library || one.starts_with(&format!("{library}-")));
            assert!(!uses || allowed.contains(&name.as_str()), "{name} uses {library}");
        }
    }
    let dependencies = dependencies();
    for (library, name) in [("candle-core", "models"), ("tokio", "scheduler")] {
        assert!(dependencies[name].contains(library), "the check above sees {library} in {name}");
    }
}

#[test]
fn unsafe_stands_in_two_crates_alone() {
    let root = root();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 100, "the sources are found: {}", files.len());
    for path in files {
        let code = without_comments_and_texts(&fs::read_to_string(&path).unwrap());
        let words = code.split(|character: char| !character.is_alphanumeric() && character != '_');
        let count = words.filter(|word| *word == "unsafe").count();
        if count > 0 {
            found.insert(path.strip_prefix(&root).unwrap().display().to_string(), count);
        }
    }
    let is_allowed = |path: &str| UNSAFE_FOLDERS.iter().any(|folder| path.starts_with(&format!("{folder}/")));
    let elsewhere: Vec<&String> = found.keys().filter(|path| !is_allowed(path)).collect();
    assert!(elsewhere.is_empty(), "unsafe in {elsewhere:?}");
    for folder in UNSAFE_FOLDERS {
        assert!(found.keys().any(|path| path.starts_with(folder)), "the search sees it in {folder}");
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            sources(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// What is left of Rust source when comments, strings and characters are blanked out.
fn without_comments_and_texts(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped_bytes(rest, code.chars().next_back());
        match skipped {
            0 => code.push(first),
            _ => code.push(' '),
        }
        rest = &rest[skipped.max(first.len_utf8())..];
    }
    code
}

/// Bytes of the comment, string or character that `rest` begins with.
fn skipped_bytes(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|character| character.is_alphanumeric() || character == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_bytes(rest);
    }
    if rest.starts_with('"') {
        return quoted_bytes(rest, '"');
    }
    let hashes = rest
        .strip_prefix('r')
        .filter(|_| !in_word || before == Some('b'))
        .map(|rest| rest.bytes().take_while(|byte| *byte == b'#').count());
    if let Some(hashes) = hashes
        && rest[1 + hashes..].starts_with('"')
    {
        let end = format!("\"{}", "#".repeat(hashes));
        let from = 2 + hashes;
        return rest[from..].find(&end).map_or(rest.len(), |at| from + at + end.len());
    }
    if rest.starts_with('\'') {
        let mut characters = rest.chars().skip(1);
        // A lifetime has no second quote behind its first character.
        return match (characters.next(), characters.next()) {
            (Some('\\'), _) | (Some(_), Some('\'')) => quoted_bytes(rest, '\''),
            _ => 0,
        };
    }
    0
}

/// Block comments nest.
fn block_comment_bytes(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted_bytes(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn the_search_for_unsafe_reads_code_alone() {
    let words = |source: &str| {
        let code = without_comments_and_texts(source);
        let words = code.split(|character: char| !character.is_alphanumeric() && character != '_');
        words.filter(|word| *word == "unsafe").count()
    };
    for source in [
        "// unsafe",
        "/* unsafe /* unsafe */ unsafe */",
        "\"unsafe\"",
        "r#\"unsafe \" unsafe\"#",
        "b\"unsafe\"",
        "br\"unsafe\"",
        "#![deny(unsafe_code)]",
        "\"\\\" unsafe\"",
        "'\"' // unsafe",
        "'\\'' // unsafe",
    ] {
        assert_eq!(words(source), 0, "{source}");
    }
    for source in [
        "unsafe {}",
        "fn f<'a>() { unsafe { \"x\" } }",
        "\"\\\\\"; unsafe fn f()",
        "'\"'; unsafe {}",
        "/* x */unsafe{}",
        "r\"\\\"; unsafe {}",
        "let for_r = \"a\"; unsafe {}",
        "unsafe extern \"C\"",
        "b'\\\\'; unsafe {}",
    ] {
        assert_eq!(words(source), 1, "{source}");
    }
}

#[test]
fn the_top_level_holds_nothing_else() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let found: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !ignored.contains(&name.as_str()))
        .collect();
    assert_eq!(found, TOP_LEVEL.map(str::to_owned).into());
}
