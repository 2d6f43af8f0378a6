//! `dayfly rm`: what goes, who is asked, and what never goes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use loader::fixture::{TinyEncoder, tiny_encoder};
use serde_json::json;

use crate::commands::{dayfly, home, json_of, ran, stderr, stdout};
use crate::models::{endless, good, slow, write, write_file};
use crate::server::Server;

fn models(home: &Path) -> Vec<String> {
    let listed = json_of(&ran(home, ["list", "--json"]));
    let models = listed["models"].as_array().unwrap();
    models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_model_goes_when_someone_says_so_and_nothing_else_does() {
    let home = home();
    let folder = home.path().join("models");
    write(&folder, "other", &slow());
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    // Nobody sits at a terminal here.
    let unasked = ran(home.path(), ["rm", "good"]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(stderr(&unasked).contains("--yes"), "{}", stderr(&unasked));
    // One name that is none keeps the others from going.
    let misspelt = ran(home.path(), ["rm", "--yes", "good", "othr"]);
    assert_eq!(misspelt.status.code(), Some(3));
    assert!(stderr(&misspelt).contains("did you mean other?"), "{}", stderr(&misspelt));
    assert_eq!(models(home.path()), ["good", "other"]);

    let size_bytes = folder.join("good.gguf").metadata().unwrap().len();
    let removed = json_of(&ran(home.path(), ["rm", "--yes", "good", "good", "--json"]));
    assert_eq!(removed, json!({ "removed": [{ "name": "good", "size_bytes": size_bytes }] }));
    assert_eq!(models(home.path()), ["other"]);
    assert!(folder.join("notes.txt").exists() && !folder.join("good.gguf").exists());
    let told = ran(home.path(), ["rm", "-y", "other"]);
    assert!(stdout(&told).starts_with("other is deleted ("), "{}", stdout(&told));
}

#[test]
fn a_path_is_no_name_and_a_link_is_not_followed() {
    let home = home();
    let folder = home.path().join("models");
    let elsewhere = home.path().join("elsewhere.gguf");
    fs::copy(folder.join("good.gguf"), &elsewhere).unwrap();
    symlink(&elsewhere, folder.join("linked.gguf")).unwrap();
    for name in ["../elsewhere", "../elsewhere.gguf", elsewhere.to_str().unwrap(), "good.gguf", "./good"] {
        let refused = ran(home.path(), ["rm", "--yes", name]);
        assert_eq!(refused.status.code(), Some(3), "{name}: {}", stderr(&refused));
    }
    let refused = ran(home.path(), ["rm", "--yes", "linked"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(elsewhere.exists() && folder.join("good.gguf").exists());
    assert!(folder.join("linked.gguf").symlink_metadata().is_ok());
}

#[test]
fn an_alias_leads_to_its_model() {
    let home = home();
    let config = home.path().join("dayfly.toml");
    fs::write(&config, "[aliases]\nshort = 'good'\n").unwrap();
    let removed = dayfly(home.path()).args(["rm", "--yes", "short", "--json"]).env("DAYFLY_CONFIG", &config).output();
    assert_eq!(json_of(&removed.unwrap())["removed"][0]["name"], "good");
    assert!(models(home.path()).is_empty());
}

#[test]
fn a_running_server_deletes_what_it_does_not_use() {
    let mut server = Server::serving(|folder| {
        good(folder);
        write(folder, "busy", &slow());
        write_file(folder, "encoder", &tiny_encoder(&TinyEncoder::default()));
    });
    let url = format!("http://{}", server.address());
    let rm = |name: &str| ran(server.home(), ["rm", "--yes", "--server", &url, name]);
    let mut stream = server.stream(&endless("busy"));
    stream.chunk();
    let refused = rm("busy");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("a request uses it"), "{}", stderr(&refused));
    server.answers("good");
    for name in ["good", "encoder"] {
        let removed = rm(name);
        assert!(removed.status.success(), "{name}: {}", stderr(&removed));
    }
    assert_eq!(fs::read_dir(server.models_dir()).unwrap().count(), 1, "both files are gone");
    let missing = rm("goood");
    assert_eq!(missing.status.code(), Some(3), "{}", stderr(&missing));
    assert_eq!(server.status("busy"), "loaded");
    drop(stream);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit(crate::server::SOON).success());
}
