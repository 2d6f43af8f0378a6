//! Pulls from a stand-in for the Hugging Face Hub.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::{Value, json};

use super::http::{Server, serve, status};
use super::*;
use crate::fixture::{FolderWriter, write_shards};
use crate::gguf::TensorType;
use crate::limits::HUB_ANSWER_BYTES_MAX;
use crate::{Artifact, ArtifactFiles};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of the repository org/tiny by their paths.
type Files = BTreeMap<String, Vec<u8>>;

/// The files of a folder on the disk.
fn files_of(folder: &Path, prefix: &str, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => files_of(&entry.path(), &format!("{name}/"), files),
            false => drop(files.insert(name, fs::read(entry.path()).unwrap())),
        }
    }
}

/// A folder of safetensors in two shards, with files beside it that are not wanted.
fn folder(seed: u64) -> Files {
    let scratch = tempfile::tempdir().unwrap();
    let shape = TinyModel { seed, ..TinyModel::default() };
    let mut writer = FolderWriter::of(&mut tiny_model(&shape), TensorType::BF16);
    writer.shards = 2;
    let modules = json!([{ "type": "sentence_transformers.models.Pooling", "path": "1_Pooling" }]);
    writer.texts.insert("modules.json".to_owned(), modules.to_string().into_bytes());
    let pooling = json!({ "pooling_mode_lasttoken": true }).to_string().into_bytes();
    writer.texts.insert("1_Pooling/config.json".to_owned(), pooling);
    writer.write_to(scratch.path()).unwrap();
    let mut files = Files::new();
    files_of(scratch.path(), "", &mut files);
    for name in ["README.md", "pytorch_model.bin", "onnx/model.onnx", "1_Pooling/notes.txt", "consolidated.safetensors"]
    {
        files.insert(name.to_owned(), vec![7; 100]);
    }
    files
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

fn tree(files: &Files, folder: &str) -> Value {
    let entry = |(path, bytes): (&String, &Vec<u8>)| {
        let inside = path.strip_prefix(folder)?;
        if let Some((below, _)) = inside.split_once('/') {
            return Some(json!({ "type": "directory", "path": format!("{folder}{below}"), "size": 0, "oid": "0" }));
        }
        let mut entry = json!({ "type": "file", "path": path, "size": bytes.len(), "oid": "0" });
        if is_large(path) {
            entry["lfs"] = json!({ "oid": Digest::of(bytes).to_string(), "size": bytes.len(), "pointerSize": 1 });
        }
        Some(entry)
    };
    files.iter().filter_map(entry).collect()
}

/// Answers as the Hub does: what a revision is, what a commit holds, and large files by a redirect.
fn hub(files: Arc<Mutex<Files>>) -> Server {
    Server::new(move |_, head, to| {
        let files = files.lock().unwrap();
        // The stand-in hears everything in small letters.
        let path = head.split(' ').nth(1).unwrap();
        let under =
            |prefix: &str| path.strip_prefix(&format!("{prefix}{COMMIT}")).map(|rest| rest.trim_start_matches('/'));
        let find = |name: &str| files.iter().find(|(path, _)| path.to_lowercase() == name.replace("%20", " "));
        if matches!(path, "/api/models/org/tiny/revision/main" | "/api/models/org/tiny/revision/v1") {
            return json_answer(&json!({ "sha": COMMIT, "private": true }), to);
        }
        if let Some(folder) = under("/api/models/org/tiny/tree/") {
            let inside = |path: &&String| path.to_lowercase().starts_with(&format!("{folder}/"));
            return match files.keys().find(inside).map(|path| format!("{}/", &path[..folder.len()])) {
                Some(folder) => json_answer(&tree(&files, &folder), to),
                None if folder.is_empty() => json_answer(&tree(&files, ""), to),
                None => status(404, "", to),
            };
        }
        if let Some((name, _)) = under("/org/tiny/resolve/").and_then(find).filter(|(name, _)| is_large(name)) {
            let port = head.lines().find_map(|line| line.strip_prefix("host: 127.0.0.1:")).unwrap();
            return status(
                302,
                &format!("Location: http://localhost:{port}/cdn/{}?sig=1\r\n", name.replace(' ', "%20")),
                to,
            );
        }
        let plain = path.split('?').next().unwrap();
        match under("/org/tiny/resolve/").or(plain.strip_prefix("/cdn/")).and_then(find) {
            Some((_, bytes)) => serve(head, bytes, "\"v1\"", usize::MAX, to),
            None => status(404, "", to),
        }
    })
}

fn json_answer(value: &Value, to: &mut TcpStream) -> io::Result<()> {
    serve("", value.to_string().as_bytes(), "\"json\"", usize::MAX, to)
}

fn puller(server: &Server) -> Puller {
    let endpoint = Url::parse(&format!("http://{}", server.address)).unwrap();
    Puller { hub: Hub { endpoint, token: Some("hf_hunter2".parse().unwrap()) }, ..Puller::default() }
}

#[test]
fn a_repositorys_folder_becomes_a_model() {
    let files = Arc::new(Mutex::new(folder(1)));
    let server = hub(Arc::clone(&files));
    let models = Folder::new();
    let path = puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap();
    assert_eq!((path.clone(), models.names()), (models.path("tiny"), vec!["tiny".to_owned()]));
    let mut found = Files::new();
    files_of(&path, "", &mut found);
    let mut expected = files.lock().unwrap().clone();
    expected.retain(|name, _| found.contains_key(name));
    assert_eq!(found, expected);
    assert_eq!(found.len(), 9, "two shards, their index, and texts: {:?}", found.keys());
    assert_eq!(Artifact::open(&path).unwrap().name(), "tiny");

    // The token went to the Hub and along no redirect; large files came by one.
    let seen = server.seen();
    let (redirected, direct): (Vec<&String>, Vec<&String>) =
        seen.iter().partition(|head| head.starts_with("get /cdn/"));
    assert_eq!(redirected.len(), 2);
    assert!(redirected.iter().all(|head| !head.contains("hunter2")), "{redirected:?}");
    assert!(direct.iter().all(|head| head.contains("authorization: bearer hf_hunter2")), "{direct:?}");

    // The same again fetches no weights; another version fetches those that differ, and the old one serves on.
    let old = Artifact::open(&path).unwrap();
    puller(&server).pull(&models.request("hf:org/tiny@v1"), &Silent).unwrap();
    assert_eq!(server.seen().iter().filter(|head| head.starts_with("get /cdn/")).count(), 2);
    *files.lock().unwrap() = folder(2);
    puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap();
    assert_ne!(&ArtifactFiles::at(&path).identity().unwrap(), old.identity());
    old.verify_unchanged().unwrap();
    assert_eq!(models.names(), ["tiny"]);
}

#[test]
fn a_folder_that_breaks_off_goes_on_where_it_stopped() {
    let server = hub(Arc::new(Mutex::new(folder(1))));
    let models = Folder::new();
    let request = models.request("hf:org/tiny");
    let error = puller(&server).pull(&request, &CancelAt::new(20_000)).unwrap_err();
    assert!(matches!(error, PullError::Cancelled), "{error}");
    assert!(models.names().iter().all(|name| name.starts_with('.')), "{:?}", models.names());
    puller(&server).pull(&request, &Silent).unwrap();
    assert_eq!(models.names(), ["tiny"]);
}

#[test]
fn files_of_a_repository_come_with_all_their_shards() {
    let scratch = tempfile::tempdir().unwrap();
    write_shards(&tiny_model(&TinyModel::default()).split(3), scratch.path(), "Split").unwrap();
    tiny_model(&TinyModel::default()).write_to(&scratch.path().join("one m.gguf")).unwrap();
    let mut files = Files::new();
    files_of(scratch.path(), "", &mut files);
    files_of(scratch.path(), "sub/", &mut files);
    let server = hub(Arc::new(Mutex::new(files)));
    let models = Folder::new();
    let pull = |text: &str| puller(&server).pull(&models.request(text), &Silent);
    assert_eq!(pull("hf:org/tiny/sub/one m.gguf").unwrap(), models.path("one m.gguf"));
    let path = pull("hf:org/tiny/Split-00002-of-00003.gguf").unwrap();
    assert_eq!(path, models.path("Split-00001-of-00003.gguf"));
    assert_eq!(Artifact::open(&path).unwrap().files().len(), 3);
    assert_eq!(models.names().len(), 4);
    let before = server.seen().len();
    pull("hf:org/tiny/Split-00001-of-00003.gguf").unwrap();
    assert_eq!(server.seen().len(), before + 2, "only the Hub was asked");
    let error = pull("hf:org/tiny/absent.gguf").unwrap_err();
    assert!(matches!(&error, PullError::NoFile { file, .. } if file == "absent.gguf") && !error.is_retryable());
    let error = pull("hf:org/other/m.gguf").unwrap_err();
    assert!(matches!(error, PullError::Status { status: 404, .. }), "{error}");
    let error = pull("hf:org/tiny").unwrap_err();
    assert!(matches!(error, PullError::NoFolder { .. }), "{error}");
}

/// The shards called Split in two versions, and who looks at them whenever a pull says something.
struct Watched<'a> {
    models: &'a Folder,
    versions: [Files; 2],
    /// How many shards were there of each version.
    seen: Mutex<Vec<[usize; 2]>>,
}

impl Watched<'_> {
    fn look(&self) -> [usize; 2] {
        let there =
            |(name, bytes): (&String, &Vec<u8>)| fs::read(self.models.path(name)).is_ok_and(|read| read == *bytes);
        self.versions.each_ref().map(|files| files.iter().filter(|file| there(*file)).count())
    }
}

impl Progress for Watched<'_> {
    fn update(&self, _: Stage<'_>, _: u64, _: Option<u64>) {
        self.seen.lock().unwrap().push(self.look());
    }
}

#[test]
fn shards_of_two_versions_never_lie_beside_each_other() {
    let shards = |seed| {
        let scratch = tempfile::tempdir().unwrap();
        let shape = TinyModel { seed, ..TinyModel::default() };
        write_shards(&tiny_model(&shape).split(3), scratch.path(), "Split").unwrap();
        let mut files = Files::new();
        files_of(scratch.path(), "", &mut files);
        files
    };
    let (models, versions) = (Folder::new(), [shards(1), shards(2)]);
    let files = Arc::new(Mutex::new(versions[0].clone()));
    let server = hub(Arc::clone(&files));
    let request = models.request("hf:org/tiny/Split-00001-of-00003.gguf");
    let path = puller(&server).pull(&request, &Silent).unwrap();
    let old = Artifact::open(&path).unwrap();
    *files.lock().unwrap() = versions[1].clone();
    let watched = Watched { models: &models, versions, seen: Mutex::default() };
    // Broken off in the second of the new shards.
    let first_bytes = watched.versions[1].values().next().unwrap().len() as u64;
    let fetched = || server.seen().iter().filter(|head| head.starts_with("get /cdn/")).count();
    let before = fetched();
    let error = puller(&server).pull(&request, &CancelAt::new(first_bytes + 1)).unwrap_err();
    assert!(matches!(error, PullError::Cancelled), "{error}");
    assert_eq!(watched.look(), [3, 0], "the old ones serve on");
    puller(&server).pull(&request, &watched).unwrap();
    assert_eq!(watched.look(), [0, 3]);
    assert!(fetched() > before);
    let seen = watched.seen.lock().unwrap();
    assert!(seen.contains(&[3, 0]) && seen.iter().all(|there| there.contains(&0)), "{seen:?}");
    old.verify_unchanged().unwrap();
    assert_eq!(models.names().len(), 3, "nothing else is left: {:?}", models.names());
}

#[test]
fn a_folder_is_not_replaced_by_a_shard() {
    let mut files = Files::new();
    let scratch = tempfile::tempdir().unwrap();
    write_shards(&tiny_model(&TinyModel::default()).split(2), scratch.path(), "Split").unwrap();
    files_of(scratch.path(), "", &mut files);
    let server = hub(Arc::new(Mutex::new(files)));
    let models = Folder::new();
    fs::create_dir(models.path("Split-00002-of-00002.gguf")).unwrap();
    let request = models.request("hf:org/tiny/Split-00001-of-00002.gguf");
    let error = puller(&server).pull(&request, &Silent).unwrap_err();
    assert!(matches!(&error, PullError::InTheWay { path } if path.ends_with("Split-00002-of-00002.gguf")), "{error}");
    assert_eq!(models.names(), ["Split-00002-of-00002.gguf"]);
}

#[test]
fn what_is_not_as_the_hub_says_is_not_kept() {
    // A listing of other bytes than come.
    let listed = folder(1);
    let served: Files =
        listed.iter().map(|(name, bytes)| (name.clone(), bytes.iter().rev().copied().collect())).collect();
    let server = {
        let listed = tree(&listed, "");
        Server::new(move |_, head, to| {
            let path = head.split(' ').nth(1).unwrap();
            match path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
                Some(name) => serve(head, &served[name], "\"v1\"", usize::MAX, to),
                None if path.contains("/revision/") => json_answer(&json!({ "sha": COMMIT }), to),
                None => json_answer(&listed, to),
            }
        })
    };
    let models = Folder::new();
    let error = puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap_err();
    assert!(matches!(error, PullError::WrongDigest { .. }), "{error}");
    assert!(models.names().iter().all(|name| name.starts_with('.')));

    // A folder that comes whole and is no model.
    let mut broken = folder(1);
    broken.insert("config.json".to_owned(), b"{}".to_vec());
    let server = hub(Arc::new(Mutex::new(broken)));
    let error = puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap_err();
    assert!(matches!(error, PullError::NotAFolder { .. }) && !error.is_retryable(), "{error}");
    assert_eq!(models.names(), [""; 0]);
}

#[test]
fn what_is_no_model_alone_is_not_replaced_by_a_folder() {
    let server = hub(Arc::new(Mutex::new(folder(1))));
    let refused = |models: &Folder| {
        let error = puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap_err();
        assert!(matches!(&error, PullError::InTheWay { path } if path.ends_with("tiny")), "{error}");
    };
    // A folder of models, a file, and a model with something beside it.
    let models = Folder::new();
    std::fs::create_dir_all(models.path("tiny/other")).unwrap();
    std::fs::write(models.path("tiny/other/model.gguf"), b"kept").unwrap();
    refused(&models);
    assert_eq!(std::fs::read(models.path("tiny/other/model.gguf")).unwrap(), b"kept");

    let models = Folder::new();
    std::fs::write(models.path("tiny"), b"kept").unwrap();
    refused(&models);
    assert_eq!(std::fs::read(models.path("tiny")).unwrap(), b"kept");

    let models = Folder::new();
    puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap();
    puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap();
    std::fs::write(models.path("tiny/notes.md"), b"kept").unwrap();
    refused(&models);
    assert_eq!(std::fs::read(models.path("tiny/notes.md")).unwrap(), b"kept");
}

#[test]
fn so_much_of_an_answer_is_read() {
    let pull = |bytes: u64| {
        let server = Server::new(move |_, head, to| {
            let revision = format!("{{\"sha\":\"{COMMIT}\"}}");
            let answer = if head.contains("/revision/") { &revision } else { "[]" };
            let spaces = " ".repeat(usize::try_from(bytes).unwrap() - answer.len());
            serve("", format!("{answer}{spaces}").as_bytes(), "\"v\"", usize::MAX, to)
        });
        puller(&server).pull(&Folder::new().request("hf:org/tiny"), &Silent).unwrap_err()
    };
    let error = pull(HUB_ANSWER_BYTES_MAX);
    assert!(matches!(error, PullError::NoFolder { .. }), "both answers were read: {error}");
    let error = pull(HUB_ANSWER_BYTES_MAX + 1);
    assert!(matches!(error, PullError::Answer { problem: "with more than is read", .. }), "{error}");
}

#[test]
fn odd_answers_of_a_hub_are_refused() {
    let answers: [(&str, &str); 6] = [
        ("not json", "[]"),
        (r#"{"sha": "main"}"#, "[]"),
        (r#"{"sha": "../../../../../../../../../../../../../x"}"#, "[]"),
        ("SHA", "{}"),
        ("SHA", r#"[{"type":"file","path":"model.safetensors","size":1,"lfs":{"oid":"short","size":1}}]"#),
        (
            "SHA",
            r#"[{"type":"file","path":"../config.json","size":1},{"type":"file","path":"/model.safetensors","size":1}]"#,
        ),
    ];
    for (revision, listing) in answers {
        let (revision, listing) = (revision.replace("SHA", &format!("{{\"sha\":\"{COMMIT}\"}}")), listing.to_owned());
        let server = Server::new(move |_, head, to| {
            let answer = if head.contains("/revision/") { &revision } else { &listing };
            serve("", answer.as_bytes(), "\"v\"", usize::MAX, to)
        });
        let models = Folder::new();
        let error = puller(&server).pull(&models.request("hf:org/tiny"), &Silent).unwrap_err();
        assert!(matches!(error, PullError::Answer { .. } | PullError::NoFolder { .. }), "{error}");
        assert!(!error.is_retryable() && !format!("{error} {error:?}").contains("hunter2"));
        assert_eq!(models.names(), [""; 0]);
    }
    assert!(
        "".parse::<Token>().is_err() && "two words".parse::<Token>().is_err() && "new\nline".parse::<Token>().is_err()
    );
    assert!(!format!("{:?}", "hf_hunter2".parse::<Token>()).contains("hunter2"));
}
