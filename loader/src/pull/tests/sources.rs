//! What is a source and what is not.

use super::*;

fn refused(text: &str) -> SourceError {
    Source::parse(text).expect_err(text)
}

#[test]
fn the_forms_of_sources() {
    for known in KNOWN {
        assert_eq!(Source::parse(known.alias), Ok((Source::Known(known), known.sha256())));
        let name = Source::Known(known).file_name().unwrap();
        match known.contents {
            Contents::File { pieces, .. } => {
                assert_eq!(name, format!("{}.gguf", known.stem()));
                assert!(pieces.iter().all(|piece| piece.member.contains(known.file_name)));
            }
            Contents::Folder(parts) => {
                assert_eq!(name, known.stem());
                assert!(parts.iter().all(|part| part.piece.member.ends_with(&format!("/{}", part.path))));
            }
        }
    }
    let pypi = |package: &str, version: Option<&str>, file: &str| Source::Pypi {
        package: package.into(),
        version: version.map(Into::into),
        file: file.into(),
    };
    assert_eq!(Source::parse("pypi:some-pkg/data/m.gguf").unwrap().0, pypi("some-pkg", None, "data/m.gguf"));
    assert_eq!(Source::parse("pypi:p==1.0.0rc1+x/m.GGUF").unwrap().0, pypi("p", Some("1.0.0rc1+x"), "m.GGUF"));
    let repository =
        |revision: Option<&str>| Repository { name: "Org-1/My.Model_2".into(), revision: revision.map(Into::into) };
    let folder = Source::parse("hf:Org-1/My.Model_2").unwrap().0;
    assert_eq!((folder.file_name().unwrap().as_str(), &folder), ("My.Model_2", &Source::HubFolder(repository(None))));
    let of_revision = Source::parse("hf:Org-1/My.Model_2@v1.0").unwrap().0;
    assert_eq!(of_revision, Source::HubFolder(repository(Some("v1.0"))));
    let file = Source::parse("hf:Org-1/My.Model_2@v1.0/sub/m 1.gguf").unwrap().0;
    assert_eq!(file.file_name().unwrap(), "m 1.gguf");
    assert_eq!(file, Source::HubFile { repository: repository(Some("v1.0")), file: "sub/m 1.gguf".into() });
    assert_eq!(Source::parse("file:relative/m.gguf").unwrap().0, Source::File("relative/m.gguf".into()));
    assert_eq!(Source::parse("file:///a/b%20c.gguf").unwrap().0, Source::File("/a/b c.gguf".into()));
    assert_eq!(Source::parse("file:/a/b%20c.gguf").unwrap().0, Source::File("/a/b%20c.gguf".into()));
    let (source, digest) =
        Source::parse(&format!("https://h.example/a/My%20M.gguf?download=true#sha256={}", Digest::of(b""))).unwrap();
    assert_eq!((source.file_name().unwrap().as_str(), digest), ("My M.gguf", Some(Digest::of(b""))));
    for local in ["http://127.0.0.1:8000/m.gguf", "http://localhost/m.gguf", "http://[::1]:80/m.gguf"] {
        assert!(matches!(Source::parse(local), Ok((Source::Http(_), None))), "{local}");
    }
}

#[test]
fn what_is_refused_says_what_would_do() {
    for bad in [
        "hf:",
        "hf:org",
        "hf:org/",
        "hf:/name",
        "hf:../name",
        "hf:org/..",
        "hf:org/na me",
        "hf:org/name@",
        "hf:o?/name",
    ] {
        assert!(matches!(refused(bad), SourceError::BadHub { .. }), "{bad}");
    }
    for bad in
        ["hf:org/name/", "hf:org/name//m.gguf", "hf:org/name/../m.gguf", "hf:org/name/.m.gguf", "hf:org/name@a/b@c/"]
    {
        assert!(matches!(refused(bad), SourceError::BadHub { .. }), "{bad}");
    }
    assert!(matches!(refused("hf:org/name/config.json"), SourceError::BadFileName { .. }));
    for unknown in ["smollm3", "ftp://h/m.gguf", "s3://bucket/m.gguf", "", "/abs/m.gguf", "C:\\m.gguf"] {
        assert!(matches!(refused(unknown), SourceError::Unknown { .. }), "{unknown}");
    }
    assert!(refused("smollm3").to_string().contains("smollm2, gemma3-270m"));
    for plain in ["http://h.example/m.gguf", "http://127.0.0.1.evil.example/m.gguf", "http://localhost.evil/m.gguf"] {
        assert!(matches!(refused(plain), SourceError::PlainHttp { .. }), "{plain}");
    }
    for bad in ["https:///m.gguf", "https://", "https:m.gguf", "https://h h/m.gguf"] {
        assert!(matches!(refused(bad), SourceError::BadUrl { .. }), "{bad}");
    }
    let options = ["pypi:-rfile/m.gguf", "pypi:--index-url=x/m.gguf", "pypi:p==/m.gguf", "pypi:p==-1/m.gguf"];
    for bad in options.into_iter().chain(["pypi:p", "pypi:p/", "pypi:/m.gguf", "pypi:p @ x/m.gguf", "pypi:p[x]/m.gguf"])
    {
        assert!(matches!(refused(bad), SourceError::BadPypi { .. }), "{bad}");
    }
    assert_eq!(refused("file://server/share/m.gguf"), SourceError::RemoteFile);
    let names =
        ["file:/m.txt", "file:/.gguf", "file:/.m.gguf", "https://h/", "https://h/a%2Fm.gguf", "https://h/%FF.gguf"];
    for bad in names.into_iter().chain(["https://h/a%0A.gguf", "https://h/%2e%2e", "pypi:p/.m.gguf", "file:/a/.."]) {
        assert!(matches!(refused(bad), SourceError::BadFileName { .. }), "{bad}");
    }
    assert!(matches!(refused(&format!("https://h/{}.gguf", "n".repeat(300))), SourceError::BadFileName { .. }));
    for digest in ["", "12", &"g".repeat(64), &"0".repeat(65)] {
        assert_eq!(refused(&format!("file:/m.gguf#sha256={digest}")), SourceError::BadDigest);
    }
}

#[test]
fn no_secret_is_shown() {
    let secret = "https://user:hunter2@h.example/m.gguf?token=hunter2";
    let (source, _) = Source::parse(secret).unwrap();
    let Source::Http(url) = &source else { panic!("{source:?}") };
    assert_eq!(url.to_string(), "https://h.example/m.gguf");
    let Ok((Source::Http(odd), _)) = Source::parse("https://a@h.example:81/x@v1/m.gguf") else { panic!("refused") };
    assert_eq!(odd.to_string(), "https://h.example:81/x@v1/m.gguf");
    let shown = [
        format!("{source:?}"),
        refused("http://user:hunter2@h.example/m.gguf?hunter2").to_string(),
        refused("ftp:user:hunter2@h.example/m.gguf").to_string(),
        refused("https://user:hunter2/x@h.example/m .gguf").to_string(),
        refused("ftp://user:hunter2@h.example/m.gguf?hunter2").to_string(),
        refused("https://user:hunter2@h h/m.gguf?hunter2").to_string(),
        source::redacted_words(
            "looking in https://user:hunter2@h.example/simple and https://h.example/?k=hunter2 for it",
        ),
    ];
    for shown in shown {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn digests_are_read_as_they_are_written() {
    let digest = Digest::of(b"abc");
    // FIPS 180-2, B.1.
    assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
}
