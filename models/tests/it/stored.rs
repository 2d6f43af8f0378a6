//! Descriptors that outlast a restart, and files that do not.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};

use loader::Artifact;
use loader::fixture::{FixtureValue, GgufWriter, TinyModel, tiny_model};
use models::tokenizer::{Special, Start};
use models::{Descriptor, DescriptorStore, Origin};

const TEXT: &str = "the tokens of the text, and of the others";

struct Stored {
    folder: tempfile::TempDir,
    store: DescriptorStore,
}

impl Stored {
    /// A model in a folder of its own, whose descriptor is kept.
    fn new(writer: &GgufWriter) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = DescriptorStore::at(folder.path().join("cache"));
        let stored = Self { folder, store };
        writer.write_to(&stored.path()).unwrap();
        let (built, origin) = stored.describe();
        assert_eq!(origin, Origin::Built);
        stored.store.keep(&built).unwrap();
        let (kept, origin) = stored.describe();
        assert_eq!(origin, Origin::Kept);
        assert_eq!(ids(&kept), ids(&built));
        stored
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("m.gguf")
    }

    fn describe(&self) -> (Descriptor, Origin) {
        self.store.describe(&Artifact::open(&self.path()).unwrap(), None).unwrap()
    }

    fn only_file(&self) -> PathBuf {
        let mut files = fs::read_dir(self.folder.path().join("cache")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }
}

fn ids(descriptor: &Descriptor) -> Vec<u32> {
    descriptor.tokenizer.encode(TEXT, Special::Parsed, Start::AsModel).unwrap()
}

/// The same file in size, in which the text gives other ids: two tokens have changed places.
fn twin(writer: &GgufWriter) -> GgufWriter {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    let mut twin = writer.clone();
    let Some((_, FixtureValue::Strings(tokens))) = twin.keys.iter().find(|(key, _)| key == TOKENS).cloned() else {
        panic!("no tokens")
    };
    let mut swapped = tokens;
    let place = |letter: &[u8]| swapped.iter().position(|token| token == letter).unwrap();
    let (one, other) = (place(b"x"), place(b"e"));
    swapped.swap(one, other);
    twin.set(TOKENS, FixtureValue::Strings(swapped));
    twin
}

fn date(path: &Path, like: &fs::Metadata) {
    let times = FileTimes::new().set_modified(like.modified().unwrap());
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

#[test]
fn a_replaced_file_never_gets_the_old_descriptor() {
    let writer = tiny_model(&TinyModel::default());
    let twin = twin(&writer);
    let fresh = |stored: &Stored| ids(&Descriptor::of(&Artifact::open(&stored.path()).unwrap(), None).unwrap());
    for in_place in [true, false] {
        let stored = Stored::new(&writer);
        let old = ids(&stored.describe().0);
        let before = stored.path().metadata().unwrap();
        if in_place {
            // The same inode, size and time: what an identity cannot tell.
            fs::write(stored.path(), twin.to_bytes()).unwrap();
            date(&stored.path(), &before);
            let identity = size_and_time(&stored.path());
            assert_eq!((identity.0, identity.1), (before.len(), before.modified().unwrap()));
        } else {
            let aside = stored.folder.path().join("aside");
            twin.write_to(&aside).unwrap();
            date(&aside, &before);
            fs::rename(aside, stored.path()).unwrap();
        }
        let (new, origin) = stored.describe();
        assert_eq!(origin, Origin::Built);
        assert_eq!(ids(&new), fresh(&stored));
        assert_ne!(ids(&new), old);
    }
}

fn size_and_time(path: &Path) -> (u64, std::time::SystemTime) {
    let metadata = path.metadata().unwrap();
    (metadata.len(), metadata.modified().unwrap())
}

#[test]
fn a_spoilt_file_costs_nothing_but_time() {
    let stored = Stored::new(&tiny_model(&TinyModel::default()));
    let path = stored.only_file();
    let expected = ids(&stored.describe().0);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 1 << (at % 8);
        fs::write(&path, spoilt).unwrap();
        let (descriptor, origin) = stored.describe();
        assert_eq!((origin, ids(&descriptor)), (Origin::Built, expected.clone()), "byte {at}");
    }
    stored.store.keep(&stored.describe().0).unwrap();
    assert_eq!(stored.describe().1, Origin::Kept);
    // A folder that cannot be is no error of the model.
    let nowhere = DescriptorStore::at(stored.path().join("below"));
    let artifact = Artifact::open(&stored.path()).unwrap();
    let (descriptor, origin) = nowhere.describe(&artifact, None).unwrap();
    assert_eq!(origin, Origin::Built);
    assert!(nowhere.keep(&descriptor).is_err());
}

#[test]
fn a_template_is_none_of_what_is_kept() {
    let stored = Stored::new(&tiny_model(&TinyModel::default()));
    let artifact = Artifact::open(&stored.path()).unwrap();
    let (descriptor, origin) = stored.store.describe(&artifact, Some("{{ 'chosen' }}")).unwrap();
    assert_eq!((origin, descriptor.template.unwrap().source()), (Origin::Kept, "{{ 'chosen' }}"));
}
