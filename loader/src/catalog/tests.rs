//! Names, links and changes, on real folders.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::fixture::{TinyModel, tiny_model};

mod remove;
mod several_files;

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
    root.write("left.gguf");
    let aliases =
        [("short", "long-name"), ("taken", "long-name"), ("twice", "short"), ("lost", "absent"), ("left", "absent")];
    let catalog = Catalog::new(CatalogOptions {
        roots: vec![root.0.path().into()],
        aliases: aliases.map(|(alias, stem)| (alias.into(), stem.into())).into(),
        links: LinkPolicy::Confined,
    });
    assert_eq!(catalog.resolve("short").unwrap().name, "long-name");
    assert_eq!(catalog.resolve("taken").unwrap().name, "long-name");
    assert_eq!(catalog.resolve("left").unwrap().name, "left");
    assert!(not_found(&catalog, "twice") && not_found(&catalog, "lost"));
    assert_eq!(names(&catalog), ["left", "long-name", "taken"]);
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
    assert!(catalog.kept().as_ref().unwrap().scan.is_current(), "an unchanged folder is not read again");
    root.write("sub/new.gguf");
    assert_eq!(names(&catalog), ["new", "old"]);
}

#[test]
fn row_13_holds_where_a_scan_is_believed_for_a_while() {
    let root = Folder::new();
    let catalog = catalog(&[&root], LinkPolicy::Confined);
    let slow = || {
        let _ = catalog.list();
        let mut guard = catalog.kept();
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
    catalog.kept().as_mut().unwrap().checked -= crate::limits::CATALOG_STALE_MAX;
    assert!(!catalog.kept().as_ref().unwrap().is_fresh());
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
fn a_look_answers_all_who_asked_before_it_began_and_nobody_later() {
    let root = Folder::new();
    let catalog = root.catalog(LinkPolicy::Confined);
    let asked = Instant::now();
    let looked = catalog.current(asked);
    assert!(Arc::ptr_eq(&looked, &catalog.current(asked)), "as if it had waited for that look");
    root.write("new.gguf");
    assert!(Arc::ptr_eq(&looked, &catalog.current(asked)), "the file came after the question");
    assert!(catalog.resolve("new").is_ok(), "a later question finds it at once");
    assert!(!Arc::ptr_eq(&looked, &catalog.current(asked)), "and what is known later is known to all");
}
