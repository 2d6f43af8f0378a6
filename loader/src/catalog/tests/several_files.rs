//! Models of more than one file: shards, folders of safetensors, snapshots of a repository.

use super::*;
use crate::fixture::{FolderWriter, write_shards};
use crate::gguf::TensorType;

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

#[test]
fn copies_of_all_files_are_the_same_models_by_the_same_names() {
    let (root, copies) = (Folder::new(), Folder::new());
    tiny_model(&TinyModel::default()).write_to(&root.path("one.two.gguf")).unwrap();
    write_shards(&tiny_model(&TinyModel::default()).split(2), root.0.path(), "split").unwrap();
    let whole = folder(&root.path("models--org--folder/snapshots/fedc"));
    FolderWriter { shards: 2, ..whole }.write_to(&root.path("several")).unwrap();
    let catalog = root.catalog(LinkPolicy::Confined);
    assert_eq!(names(&catalog), ["folder", "one.two", "several", "split"]);
    for entry in catalog.list() {
        for (place, path) in entry.placed_files().unwrap() {
            let to = copies.0.path().join(place);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
    }
    let copied = copies.catalog(LinkPolicy::Confined);
    assert_eq!(names(&copied), names(&catalog));
    for entry in copied.list() {
        let (one, other) = (entry.open().unwrap(), catalog.resolve(&entry.name).unwrap().open().unwrap());
        assert_eq!(one.identity().weights_bytes(), other.identity().weights_bytes(), "{}", entry.name);
        assert_eq!(one.files().len(), other.files().len(), "{}", entry.name);
    }
}
