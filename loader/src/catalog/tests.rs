//! Names, links and changes, on real folders.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::fixture::{FolderWriter, TinyModel, tiny_model, write_shards};
use crate::gguf::TensorType;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        path
    }

    fn catalog(&self, links: LinkPolicy) -> Catalog {
        catalog(&[self], links)
    }

    /// Makes a folder's time old enough to be believed.
    fn age(&self, name: &str) {
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::open(self.path(name)).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
    }
}

fn catalog(roots: &[&Folder], links: LinkPolicy) -> Catalog {
    let roots = roots.iter().map(|root| root.0.path().to_owned()).collect();
    Catalog::new(CatalogOptions { roots, aliases: BTreeMap::new(), links })
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.list().into_iter().map(|entry| entry.name).collect()
}

fn not_found(catalog: &Catalog, name: &str) -> bool {
    matches!(catalog.resolve(name), Err(CatalogError::NotFound { .. }))
}

#[test]
fn names_are_stems_as_written() {
    let root = Folder::new();
    for name in ["SmolLM2-135M.Q4_1.gguf", "b.GGUF", "sub/a.gguf", "notes.txt", ".hidden.gguf", ".pull/x.gguf", "gguf"]
    {
        root.write(name);
    }
    let catalog = root.catalog(LinkPolicy::Confined);
    assert_eq!(names(&catalog), ["SmolLM2-135M.Q4_1", "a", "b"]);
    let entry = catalog.resolve("b").unwrap();
    assert_eq!((entry.name.as_str(), entry.size_bytes, entry.kind), ("b", 6, EntryKind::File));
    assert_eq!(entry.path, root.path("b.GGUF").canonicalize().unwrap());
    assert!(not_found(&catalog, "smollm2-135m.q4_1") && not_found(&catalog, "b.GGUF"));
}

#[test]
fn row_10_what_is_no_file_is_listed_and_fails_to_load() {
    let root = Folder::new();
    fs::create_dir(root.path("folder.gguf")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.path("fifo.gguf")).status().unwrap().success());
    symlink("/dev/zero", root.path("zero.gguf")).unwrap();
    symlink("nothing", root.path("dangling.gguf")).unwrap();
    let started = Instant::now();
    for links in [LinkPolicy::Confined, LinkPolicy::Followed] {
        let catalog = root.catalog(links);
        assert_eq!(names(&catalog), ["dangling", "fifo", "folder", "zero"]);
        for name in names(&catalog) {
            let entry = catalog.resolve(&name).unwrap();
            assert_ne!(entry.kind, EntryKind::File);
            let error = entry.open().unwrap_err();
            assert!(error.is_load_fail(), "{error}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(5), "something waited for the FIFO");
}

#[test]
fn row_10_links_out_of_the_root_load_only_by_a_setting() {
    let (root, outside) = (Folder::new(), Folder::new());
    let target = outside.path("target.gguf");
    tiny_model(&TinyModel::default()).write_to(&target).unwrap();
    symlink(&target, root.path("link.gguf")).unwrap();
    fs::create_dir(root.path("sub")).unwrap();
    symlink("../link.gguf", root.path("sub/indirect.gguf")).unwrap();

    let confined = root.catalog(LinkPolicy::Confined);
    for name in ["link", "indirect"] {
        let entry = confined.resolve(name).unwrap();
        assert_eq!((entry.kind, entry.size_bytes), (EntryKind::LinkLeavesRoot, 0));
        assert!(matches!(entry.open(), Err(OpenError::LinkLeavesRoot { .. })));
        assert!(entry.open().unwrap_err().is_load_fail());
    }
    let followed = root.catalog(LinkPolicy::Followed);
    for name in ["link", "indirect"] {
        let entry = followed.resolve(name).unwrap();
        assert_eq!(entry.path, target.canonicalize().unwrap());
        assert_eq!(entry.open().unwrap().header().string("general.architecture"), Ok(Some("llama")));
    }
}

#[test]
fn a_file_that_becomes_a_link_out_of_the_root_is_not_opened() {
    let (root, outside) = (Folder::new(), Folder::new());
    let secret = outside.write("secret");
    let path = root.path("model.gguf");
    tiny_model(&TinyModel::default()).write_to(&path).unwrap();
    let entry = root.catalog(LinkPolicy::Confined).resolve("model").unwrap();
    entry.open().unwrap();
    fs::remove_file(&path).unwrap();
    symlink(secret, &path).unwrap();
    assert!(matches!(entry.open(), Err(OpenError::LinkLeavesRoot { .. })));
}

#[test]
fn a_hugging_face_cache_is_a_root() {
    let root = Folder::new();
    root.write("models--org--name/blobs/0123abcd");
    fs::create_dir_all(root.path("models--org--name/snapshots/fedc")).unwrap();
    symlink("../../blobs/0123abcd", root.path("models--org--name/snapshots/fedc/model.gguf")).unwrap();
    let entry = root.catalog(LinkPolicy::Confined).resolve("model").unwrap();
    assert_eq!(entry.kind, EntryKind::File);
    assert!(entry.path.ends_with("blobs/0123abcd"));
}

#[test]
fn links_to_folders_are_followed_by_a_setting_and_never_in_circles() {
    let (root, outside) = (Folder::new(), Folder::new());
    outside.write("far.gguf");
    root.write("near.gguf");
    symlink(outside.0.path(), root.path("elsewhere")).unwrap();
    symlink(".", root.path("self")).unwrap();
    assert_eq!(names(&root.catalog(LinkPolicy::Confined)), ["near"]);
    let followed = root.catalog(LinkPolicy::Followed);
    assert_eq!(names(&followed), ["far", "near"]);
    assert_eq!(followed.shadowed(), []);
}

#[test]
fn the_first_root_wins_then_the_shallower_then_the_first_by_path() {
    let (first, second) = (Folder::new(), Folder::new());
    for name in ["z/deep/m.gguf", "z/m.gguf", "b/m.gguf"] {
        first.write(name);
    }
    second.write("m.gguf");
    second.write("only.gguf");
    let catalog = catalog(&[&first, &second], LinkPolicy::Confined);
    assert!(catalog.resolve("m").unwrap().path.ends_with("b/m.gguf"));
    let ignored: Vec<_> = catalog.shadowed().into_iter().map(|shadowed| shadowed.ignored).collect();
    let expected = [first.path("z/m.gguf"), first.path("z/deep/m.gguf"), second.path("m.gguf")];
    assert_eq!(ignored, expected.map(|path| path.canonicalize().unwrap()));
    assert_eq!(names(&catalog), ["m", "only"]);
}

#[test]
fn aliases_lead_to_the_true_name() {
    let root = Folder::new();
    root.write("long-name.gguf");
    root.write("taken.gguf");
    let aliases = [("short", "long-name"), ("taken", "long-name"), ("twice", "short"), ("lost", "absent")];
    let catalog = Catalog::new(CatalogOptions {
        roots: vec![root.0.path().into()],
        aliases: aliases.map(|(alias, stem)| (alias.into(), stem.into())).into(),
        links: LinkPolicy::Confined,
    });
    assert_eq!(catalog.resolve("short").unwrap().name, "long-name");
    assert_eq!(catalog.resolve("taken").unwrap().name, "long-name");
    assert!(not_found(&catalog, "twice") && not_found(&catalog, "lost"));
    assert_eq!(names(&catalog), ["long-name", "taken"]);
}

#[test]
fn row_13_changes_are_seen_at_once() {
    let root = Folder::new();
    let catalog = catalog(&[&root], LinkPolicy::Confined);
    assert_eq!(names(&catalog), [""; 0]);
    // Many changes within one tick of the file system's clock.
    for round in 0..50 {
        let name = format!("m{round}");
        let path = root.write(&format!("{name}.gguf"));
        assert!(catalog.resolve(&name).is_ok(), "{name} was not seen");
        fs::remove_file(path).unwrap();
        assert!(not_found(&catalog, &name), "{name} is still there");
    }
    // And changes long after a scan, in a folder below.
    root.write("sub/old.gguf");
    root.age("sub");
    root.age("");
    assert_eq!(names(&catalog), ["old"]);
    assert!(catalog.lock().as_ref().unwrap().scan.is_current(), "an unchanged folder is not read again");
    root.write("sub/new.gguf");
    assert_eq!(names(&catalog), ["new", "old"]);
}

#[test]
fn row_13_holds_where_a_scan_is_believed_for_a_while() {
    let root = Folder::new();
    let catalog = catalog(&[&root], LinkPolicy::Confined);
    let slow = || {
        let _ = catalog.list();
        let mut guard = catalog.lock();
        let kept = guard.as_mut().unwrap();
        // As if looking had taken an hour.
        kept.check = Duration::from_secs(3600);
        assert!(kept.is_fresh());
    };
    root.write("sub/m.gguf");
    root.write("sub/gone.gguf");
    slow();
    root.write("m.gguf");
    root.write("new.gguf");
    assert!(catalog.resolve("m").unwrap().path.ends_with("sub/m.gguf"), "this alone may be late");
    assert!(catalog.resolve("new").is_ok());
    assert_eq!(catalog.resolve("m").unwrap().path, root.path("m.gguf").canonicalize().unwrap());
    slow();
    fs::remove_file(root.path("sub/gone.gguf")).unwrap();
    assert!(not_found(&catalog, "gone"));
    slow();
    fs::remove_file(root.path("m.gguf")).unwrap();
    assert!(catalog.resolve("m").unwrap().path.ends_with("sub/m.gguf"));
    // A folder that became a link out of the root is not followed, whatever is believed.
    let outside = Folder::new();
    tiny_model(&TinyModel::default()).write_to(&outside.path("m.gguf")).unwrap();
    slow();
    fs::remove_dir_all(root.path("sub")).unwrap();
    symlink(outside.0.path(), root.path("sub")).unwrap();
    let entry = catalog.resolve("m").unwrap();
    assert!(matches!(entry.open(), Err(OpenError::LinkLeavesRoot { .. })));
    assert!(matches!(entry.identity(), Err(OpenError::LinkLeavesRoot { .. })));
    // An hour is longer than any is believed.
    catalog.lock().as_mut().unwrap().checked -= crate::limits::CATALOG_STALE_MAX;
    assert!(!catalog.lock().as_ref().unwrap().is_fresh());
    assert!(not_found(&catalog, "m"));
}

#[test]
fn a_root_may_appear_later() {
    let parent = Folder::new();
    let roots = vec![parent.path("models")];
    let catalog = Catalog::new(CatalogOptions { roots, aliases: BTreeMap::new(), links: LinkPolicy::Confined });
    assert!(not_found(&catalog, "m"));
    parent.write("models/m.gguf");
    assert!(catalog.resolve("m").is_ok());
}

#[test]
fn row_15_paths_are_names_that_do_not_exist() {
    let (root, outside) = (Folder::new(), Folder::new());
    root.write("sub/m.gguf");
    let secret = outside.write("secret.gguf");
    let catalog = root.catalog(LinkPolicy::Followed);
    let absolute = secret.with_extension("");
    let relative = format!("../{}/secret", outside.0.path().file_name().unwrap().to_str().unwrap());
    let asked = [
        absolute.to_str().unwrap(),
        secret.to_str().unwrap(),
        &relative,
        "sub/m",
        "./sub/m",
        "sub/../sub/m",
        "%2e%2e/secret",
        "m\0",
        "m\0.gguf",
        "",
        ".",
        "..",
        "/",
        "no-such-model",
        &"x".repeat(1 << 20),
    ];
    for name in asked {
        let error = catalog.resolve(name).unwrap_err();
        assert!(matches!(&error, CatalogError::NotFound { .. }), "{error}");
        assert!(error.to_string().len() < 1000, "a long name is not repeated whole");
    }
    assert!(catalog.resolve("m").is_ok());
}

#[test]
fn unprintable_names_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let root = Folder::new();
    root.write("line\nbreak.gguf");
    fs::write(root.0.path().join(std::ffi::OsStr::from_bytes(b"\xFF.gguf")), b"x").unwrap();
    root.write("fine.gguf");
    assert_eq!(names(&root.catalog(LinkPolicy::Confined)), ["fine"]);
}

#[test]
fn depth_is_bounded() {
    let root = Folder::new();
    let deep = |depth: usize| "d/".repeat(depth);
    root.write(&format!("{}reached.gguf", deep(crate::limits::CATALOG_DEPTH_MAX)));
    root.write(&format!("{}beyond.gguf", deep(crate::limits::CATALOG_DEPTH_MAX + 1)));
    assert_eq!(names(&root.catalog(LinkPolicy::Confined)), ["reached"]);
}

#[test]
fn an_unreadable_root_is_no_missing_model() {
    let root = Folder::new();
    // A root that is a file cannot be read, whoever runs this.
    let file = root.write("m.gguf");
    let roots = vec![file, root.0.path().into()];
    let catalog = Catalog::new(CatalogOptions { roots, aliases: BTreeMap::new(), links: LinkPolicy::Confined });
    assert!(catalog.resolve("m").is_ok(), "the other root still serves");
    assert!(matches!(catalog.resolve("absent"), Err(CatalogError::Unreadable { .. })));
}

#[test]
fn shards_are_one_model_called_by_their_prefix() {
    let root = Folder::new();
    for name in ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b-00001-of-00001.GGUF", "sub/c-00002-of-00002.gguf"]
    {
        root.write(name);
    }
    for name in ["d-0001-of-0002.gguf", "e-00003-of-00002.gguf", "-00001-of-00001.gguf", "f-00000-of-00001.gguf"] {
        root.write(name);
    }
    let catalog = root.catalog(LinkPolicy::Confined);
    assert_eq!(catalog.shadowed(), []);
    let odd = ["-00001-of-00001", "d-0001-of-0002", "e-00003-of-00002", "f-00000-of-00001"];
    assert_eq!(names(&catalog), [odd[0], "a", "b", "c", odd[1], odd[2], odd[3]]);
    let entry = catalog.resolve("a").unwrap();
    assert_eq!((entry.kind, entry.size_bytes), (EntryKind::File, 2 * 21));
    assert_eq!(entry.path, root.path("a-00001-of-00002.gguf").canonicalize().unwrap());
    assert!(not_found(&catalog, "a-00001-of-00002") && not_found(&catalog, "a-00002-of-00002"));
    let missing = catalog.resolve("c").unwrap();
    assert_eq!((missing.kind, missing.size_bytes), (EntryKind::Missing, 0));
    let error = missing.open().unwrap_err();
    assert!(error.is_load_fail() && error.to_string().contains("c-00001-of-00002.gguf"), "{error}");
    fs::remove_file(root.path("sub/c-00002-of-00002.gguf")).unwrap();
    assert!(not_found(&catalog, "c"), "row 13: all of it is gone");
}

#[test]
fn row_10_holds_for_every_shard() {
    let (root, outside) = (Folder::new(), Folder::new());
    let paths = write_shards(&tiny_model(&TinyModel::default()).split(2), outside.0.path(), "m").unwrap();
    for (link, shard) in [("first", 0), ("second", 1)] {
        for (number, path) in paths.iter().enumerate() {
            let name = root.path(&format!("{link}-0000{}-of-00002.gguf", number + 1));
            match number == shard {
                true => symlink(path, name).unwrap(),
                false => fs::write(name, fs::read(path).unwrap()).unwrap(),
            }
        }
        let entry = root.catalog(LinkPolicy::Confined).resolve(link).unwrap();
        assert_eq!(entry.kind, EntryKind::LinkLeavesRoot);
        assert!(matches!(entry.open(), Err(OpenError::LinkLeavesRoot { .. })));
        root.catalog(LinkPolicy::Followed).resolve(link).unwrap().open().unwrap();
    }
    fs::copy(&paths[0], root.path("fifo-00001-of-00002.gguf")).unwrap();
    let fifo = root.path("fifo-00002-of-00002.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let entry = root.catalog(LinkPolicy::Confined).resolve("fifo").unwrap();
    assert_eq!((entry.kind, &entry.path), (EntryKind::NotAFile, &fifo.canonicalize().unwrap()));
    assert!(matches!(entry.open(), Err(OpenError::NotARegularFile { .. })));

    // What becomes a link after it was resolved.
    let kept = write_shards(&tiny_model(&TinyModel::default()).split(2), root.0.path(), "kept").unwrap();
    let entry = root.catalog(LinkPolicy::Confined).resolve("kept").unwrap();
    entry.open().unwrap();
    fs::remove_file(&kept[1]).unwrap();
    symlink(&paths[1], &kept[1]).unwrap();
    assert!(matches!(entry.open(), Err(OpenError::LinkLeavesRoot { .. })));
    assert!(matches!(entry.identity(), Err(OpenError::LinkLeavesRoot { .. })));
}

/// A tiny folder of safetensors at `path`.
fn folder(path: &Path) -> FolderWriter {
    let writer = FolderWriter::of(&mut tiny_model(&TinyModel::default()), TensorType::F32);
    writer.write_to(path).unwrap();
    writer
}

#[test]
fn a_folder_of_safetensors_is_one_model_called_as_it_is() {
    let root = Folder::new();
    folder(&root.path("org/SmolLM2-1.7B"));
    // Parts of a model are no models, but files are.
    folder(&root.path("org/SmolLM2-1.7B/2_Dense"));
    root.write("org/SmolLM2-1.7B/gguf/small.gguf");
    for unfinished in ["only-config/config.json", "only-weights/model.safetensors", "other/consolidated.safetensors"] {
        root.write(unfinished);
    }
    let split = folder(&root.path("split"));
    FolderWriter { shards: 2, ..split }.write_to(&root.path("split")).unwrap();
    fs::remove_file(root.path("split/model.safetensors")).unwrap();
    let catalog = root.catalog(LinkPolicy::Confined);
    assert_eq!(names(&catalog), ["SmolLM2-1.7B", "small", "split"]);
    let entry = catalog.resolve("SmolLM2-1.7B").unwrap();
    let weights = fs::metadata(root.path("org/SmolLM2-1.7B/model.safetensors")).unwrap().len();
    assert_eq!((entry.kind, entry.size_bytes), (EntryKind::File, weights));
    assert_eq!(entry.path, root.path("org/SmolLM2-1.7B").canonicalize().unwrap());
    let artifact = entry.open().unwrap();
    assert_eq!((artifact.name(), artifact.identity().weights_bytes()), ("SmolLM2-1.7B", weights));
    assert_eq!(artifact.identity(), &entry.identity().unwrap());
    assert_eq!(catalog.resolve("split").unwrap().open().unwrap().files().len(), 2);
    fs::remove_file(root.path("split/model-00002-of-00002.safetensors")).unwrap();
    assert_eq!(catalog.resolve("split").unwrap().kind, EntryKind::Missing);
    fs::remove_dir_all(root.path("split")).unwrap();
    assert!(not_found(&catalog, "split"));
    // A models directory that looks like a model is none.
    folder(root.0.path());
    assert_eq!(names(&catalog), ["SmolLM2-1.7B", "small"]);
}

#[test]
fn a_hugging_face_cache_names_a_folder_by_its_repository() {
    let (root, aside) = (Folder::new(), Folder::new());
    folder(&aside.path("m"));
    let snapshot = root.path("models--org--tiny-name/snapshots/fedc");
    let blobs = root.path("models--org--tiny-name/blobs");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(&blobs).unwrap();
    for (number, entry) in fs::read_dir(aside.path("m")).unwrap().enumerate() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), blobs.join(number.to_string())).unwrap();
        symlink(format!("../../blobs/{number}"), snapshot.join(entry.file_name())).unwrap();
    }
    let catalog = root.catalog(LinkPolicy::Confined);
    assert_eq!(names(&catalog), ["tiny-name"]);
    assert_eq!(catalog.resolve("tiny-name").unwrap().open().unwrap().name(), "tiny-name");
}

#[test]
fn of_several_snapshots_the_main_one_is_served() {
    let root = Folder::new();
    let repository = root.path("models--org--name");
    for snapshot in ["aaaa", "bbbb", "cccc"] {
        folder(&repository.join("snapshots").join(snapshot));
        fs::write(repository.join("snapshots").join(snapshot).join("small.gguf"), snapshot).unwrap();
    }
    let catalog = root.catalog(LinkPolicy::Confined);
    let served = |catalog: &Catalog| {
        // Which one wins is looked at by this, whatever is believed.
        let _ = catalog.list();
        let snapshot = catalog.resolve("name").unwrap().path.file_name().unwrap().to_owned();
        let file = fs::read(catalog.resolve("small").unwrap().path).unwrap();
        assert_eq!(file, snapshot.as_encoded_bytes());
        snapshot.into_string().unwrap()
    };
    assert_eq!(served(&catalog), "aaaa", "nothing says which");
    fs::create_dir_all(repository.join("refs")).unwrap();
    for (main, expected) in [("bbbb", "bbbb"), ("cccc\n", "cccc"), ("dddd", "aaaa"), ("../x", "aaaa"), ("", "aaaa")] {
        fs::write(repository.join("refs/main"), main).unwrap();
        assert_eq!(served(&catalog), expected, "{main:?}");
    }
    assert_eq!(names(&catalog), ["name", "small"]);
    // What is no file is not read.
    fs::remove_file(repository.join("refs/main")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(repository.join("refs/main")).status().unwrap().success());
    assert_eq!(served(&catalog), "aaaa");
}

#[test]
fn row_10_holds_for_every_file_of_a_folder() {
    let outside = Folder::new();
    folder(&outside.path("m"));
    fs::write(outside.path("m/chat_template.jinja"), "x").unwrap();
    let optional = ["tokenizer_config.json", "generation_config.json", "chat_template.jinja"];
    for name in ["config.json", "tokenizer.json", "model.safetensors"].into_iter().chain(optional) {
        let root = Folder::new();
        folder(&root.path("m"));
        let entry = root.catalog(LinkPolicy::Confined).resolve("m").unwrap();
        entry.open().unwrap();
        let path = root.path("m").join(name);
        let _ = fs::remove_file(&path);
        symlink(outside.path("m").join(name), &path).unwrap();
        if name != "chat_template.jinja" {
            assert!(matches!(entry.open(), Err(OpenError::LinkLeavesRoot { .. })), "{name} became a link");
        }
        let entry = root.catalog(LinkPolicy::Confined).resolve("m").unwrap();
        assert_eq!(entry.kind, EntryKind::LinkLeavesRoot, "{name}");
        assert!(entry.open().unwrap_err().is_load_fail());
        root.catalog(LinkPolicy::Followed).resolve("m").unwrap().open().unwrap();
        for what in ["fifo", "folder", "dangling"] {
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            match what {
                "fifo" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "folder" => fs::create_dir(&path).unwrap(),
                _ => symlink("nothing", &path).unwrap(),
            }
            for links in [LinkPolicy::Confined, LinkPolicy::Followed] {
                let entry = root.catalog(links).resolve("m").unwrap();
                assert_eq!(entry.kind, EntryKind::NotAFile, "{name} as a {what}");
                assert!(matches!(entry.open(), Err(OpenError::NotARegularFile { .. })));
            }
        }
    }
}
