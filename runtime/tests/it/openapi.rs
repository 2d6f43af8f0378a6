//! The description of the routes, held against the server that gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::client::request;
use crate::models::good;
use crate::server::{Options, Server};
use crate::unknown_fields::{bodies, with};

const METHODS: [&str; 4] = ["get", "post", "delete", "put"];

fn document(server: &Server) -> Value {
    server.get("/openapi.json").ok()
}

/// Each described operation, with its path and its method.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap();
            operations.iter().map(|(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

/// Every value in `value`, itself included.
fn each<'a>(value: &'a Value, see: &mut dyn FnMut(&'a Value)) {
    see(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| each(item, see)),
        Value::Object(entries) => entries.values().for_each(|entry| each(entry, see)),
        _ => {}
    }
}

/// The status that a request gets, whatever comes behind it.
fn status(server: &Server, method: &str, path: &str, header: &str) -> u16 {
    let mut connection = server.connect();
    connection.send(request(&method.to_uppercase(), path, &[header], b"{"));
    connection.head().unwrap().0
}

/// A path of that pattern, at which there is nothing.
fn filled(path: &str) -> String {
    path.replace("{id}", "x").replace("{name}", "x")
}

#[test]
fn what_is_described_is_there_and_answers_no_other_method() {
    let server = Options::with_models(|_| ()).start();
    let document = document(&server);
    let mut methods: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, method, operation) in operations(&document) {
        methods.entry(path).or_default().insert(method);
        let got = status(&server, method, &filled(path), "content-type: application/json");
        assert!(operation["responses"].get(got.to_string()).is_some(), "{method} {path}: {got} is not described");
        assert!(got != 404 || path.contains('{'), "{method} {path} is not there");
    }
    assert!(methods.len() > 50, "{methods:?}");
    for (path, described) in methods {
        for method in METHODS.iter().filter(|method| !described.contains(**method)) {
            assert_eq!(status(&server, method, &filled(path), "accept: */*"), 405, "{method} {path}");
        }
    }
}

#[test]
fn who_reads_a_body_is_described_with_one() {
    let server = Options::with_models(|_| ()).start();
    for (path, method, operation) in operations(&document(&server)) {
        let reads = status(&server, method, &filled(path), "content-encoding: gzip") == 415;
        assert_eq!(operation.get("requestBody").is_some(), reads, "{method} {path}");
    }
}

/// Every name that means something in some interface.
fn known_names() -> Vec<String> {
    let source = include_str!("../../src/http/wire/unknown/known.rs");
    let list = source.split_once("= &[").unwrap().1;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The forms that a body may have.
fn forms_of(form: &Value) -> Vec<&Value> {
    match form.get("properties") {
        Some(_) => vec![form],
        None => form["anyOf"].as_array().unwrap().iter().collect(),
    }
}

#[test]
fn what_is_not_described_is_refused_as_unknown() {
    let server = Server::serving(good);
    let document = document(&server);
    let names = known_names();
    assert!(names.len() > 200, "{names:?}");
    for (path, body) in bodies() {
        let form = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let forms = forms_of(form);
        assert!(forms.iter().all(|form| form["additionalProperties"] == false), "{path}");
        // What is a member of another form makes it one of that form, perhaps.
        let is_described = |name: &str| forms.iter().any(|form| form["properties"].get(name).is_some());
        for name in names.iter().filter(|name| !is_described(name)) {
            let answer = server.post(path, &with(&body, name));
            let refusal = format!("`{name}` is not supported");
            assert!(answer.status == 400 && answer.text().contains(&refusal), "{path} {name}: {answer}");
        }
    }
}

/// What makes an undescribed route impossible: routes are made in one place, which describes them.
#[test]
fn routes_are_made_where_they_are_described() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut folders = vec![folder];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).unwrap().contains("axum::routing") {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("openapi/mod.rs"), "{found:?}");
}

#[test]
fn the_document_is_whole() {
    let server = Options::with_models(|_| ()).start();
    let document = document(&server);
    assert_eq!((&document["openapi"], &document["info"]["title"]), (&"3.1.0".into(), &"dayfly".into()));
    each(&document, &mut |value| {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target} is nowhere");
        }
    });
    let used: BTreeSet<String> = {
        let mut used = BTreeSet::new();
        each(&document, &mut |value| used.extend(value.get("$ref").and_then(Value::as_str).map(str::to_owned)));
        used
    };
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(used.contains(&format!("#/components/schemas/{name}")), "{name} is of no use");
    }
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let what = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{what}: its id is another's");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what}");
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(tag.as_str().unwrap())), "{what}");
        let of_path = |parameter: &&Value| parameter["in"] == "path";
        let parameters: BTreeSet<String> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(of_path)
            .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
            .collect();
        let in_path: BTreeSet<String> =
            path.split('/').filter(|part| part.starts_with('{')).map(str::to_owned).collect();
        assert_eq!(parameters, in_path, "{what}");
        for requirement in operation["security"].as_array().unwrap() {
            assert!(requirement.as_object().unwrap().keys().all(|name| schemes.contains_key(name)), "{what}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(status.parse::<u16>().is_ok_and(|status| (200..600).contains(&status)), "{what}: {status}");
            let target = response["$ref"].as_str().map_or(Some(response), |target| document.pointer(&target[1..]));
            assert!(target.unwrap()["description"].is_string(), "{what}: {status}");
        }
    }
}
