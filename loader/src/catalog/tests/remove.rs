//! Deleting models.

use super::*;
use crate::fixture::FolderWriter;
use crate::gguf::TensorType;

#[test]
fn a_model_s_own_files_are_deleted() {
    let root = Folder::new();
    for name in ["a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "sub/c.gguf"] {
        root.write(name);
    }
    let aliases = BTreeMap::from([("other".to_owned(), "a".to_owned())]);
    let roots = vec![root.0.path().to_owned()];
    let catalog = Catalog::new(CatalogOptions { roots, aliases, links: LinkPolicy::Confined });
    catalog.remove("b").unwrap();
    assert_eq!(names(&catalog), ["a", "c"]);
    catalog.remove("other").unwrap();
    assert_eq!(names(&catalog), ["c"]);
    catalog.remove("c").unwrap();
    assert!(root.path("sub").is_dir(), "folders of files are the user's");
    assert!(matches!(catalog.remove("c"), Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.remove("../c"), Err(CatalogError::NotFound { .. })));
}

#[test]
fn of_a_folder_only_what_makes_the_model_is_deleted() {
    let root = Folder::new();
    for name in ["plain", "noted"] {
        FolderWriter::of(&mut tiny_model(&TinyModel::default()), TensorType::F32).write_to(&root.path(name)).unwrap();
    }
    root.write("noted/notes.txt");
    let catalog = root.catalog(LinkPolicy::Confined);
    assert_eq!(names(&catalog), ["noted", "plain"]);
    catalog.remove("plain").unwrap();
    catalog.remove("noted").unwrap();
    assert_eq!(names(&catalog), Vec::<String>::new());
    assert!(!root.path("plain").exists());
    let left: Vec<_> = fs::read_dir(root.path("noted")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn neither_links_nor_what_they_lead_to_are_deleted() {
    let (root, outside) = (Folder::new(), Folder::new());
    let target = root.write("blobs/blob");
    symlink(&target, root.path("inside.gguf")).unwrap();
    symlink(outside.write("model.gguf"), root.path("outside.gguf")).unwrap();
    root.write("half-00001-of-00002.gguf");
    symlink(&target, root.path("half-00002-of-00002.gguf")).unwrap();
    fs::create_dir(root.path("folder.gguf")).unwrap();
    outside.write("cache/behind.gguf");
    symlink(outside.path("cache"), root.path("linked")).unwrap();
    for links in [LinkPolicy::Confined, LinkPolicy::Followed] {
        let catalog = root.catalog(links);
        for name in ["inside", "outside", "half", "folder"] {
            assert!(matches!(catalog.remove(name), Err(CatalogError::NotOurs { .. })), "{name}");
        }
    }
    let followed = root.catalog(LinkPolicy::Followed);
    assert!(matches!(followed.remove("behind"), Err(CatalogError::NotOurs { .. })), "its folder is a link");
    assert!(outside.path("cache/behind.gguf").exists());
    assert!(target.exists() && outside.path("model.gguf").exists() && root.path("half-00001-of-00002.gguf").exists());
}
