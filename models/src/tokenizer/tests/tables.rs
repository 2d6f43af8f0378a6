//! A tokenizer out of its tables is the one that they were taken from, and wrong tables are none.

use std::borrow::Cow;

use loader::fixture::{FixtureValue, GgufWriter, Random, TinyModel, tiny_model};
use loader::gguf::Header;
use loader::tables::Table;

use super::super::{Special, Start, TABLES_LAYOUT, Tokenizer};
use super::exact::artifact;
use super::properties::{PIECES, read, spaces, word_pieces};
use super::strings::{Strings, hash};

fn owned(tables: Vec<Table<'_>>) -> Vec<Table<'static>> {
    let own = |table| match table {
        Table::Bytes(bytes) => Table::Bytes(Cow::Owned(bytes.into_owned())),
        Table::Words(words) => Table::Words(Cow::Owned(words.into_owned())),
    };
    tables.into_iter().map(own).collect()
}

fn header(writer: &GgufWriter) -> Header {
    loader::gguf::parse(&writer.to_bytes()).unwrap()
}

/// A file of each kind; of byte-level BPE one that takes no token apart, too.
fn fixtures() -> Vec<GgufWriter> {
    let whole = |writer: &mut GgufWriter| {
        writer.set("tokenizer.ggml.pre", "llama-bpe");
    };
    let mut keeps_whole = tiny_model(&TinyModel::default());
    whole(&mut keeps_whole);
    let mut no_space = spaces(&PIECES);
    no_space.set("tokenizer.ggml.add_space_prefix", FixtureValue::Bool(false));
    vec![tiny_model(&TinyModel::default()), keeps_whole, spaces(&PIECES), no_space]
}

/// That both give the same for every seeded string, and know the same of every token.
fn assert_same(one: &Tokenizer, other: &Tokenizer, strings: impl Iterator<Item = String>) {
    let named = |tokenizer: &Tokenizer| {
        let around = (tokenizer.bos(), tokenizer.eos(), tokenizer.added_bos(), tokenizer.added_eos());
        (tokenizer.len(), tokenizer.token_bytes_max(), around)
    };
    assert_eq!(named(one), named(other));
    for id in 0..u32::try_from(one.len()).unwrap() {
        let of = |tokenizer: &Tokenizer| (tokenizer.is_end(id), tokenizer.is_control(id));
        assert_eq!((one.bytes(id), of(one)), (other.bytes(id), of(other)), "{id}");
        assert_eq!(one.first_bytes(id), other.first_bytes(id), "{id}");
    }
    for text in strings {
        for special in [Special::Plain, Special::Parsed] {
            let ids = |tokenizer: &Tokenizer| tokenizer.encode(&text, special, Start::AsModel).unwrap();
            assert_eq!(ids(one), ids(other), "{text:?}");
        }
    }
}

#[test]
fn ids_are_those_of_a_tokenizer_that_was_built() {
    let strings = Strings::new();
    for writer in fixtures() {
        let built = read(&writer).unwrap();
        let kept = Tokenizer::from_tables(&header(&writer), owned(built.tables().unwrap())).unwrap();
        assert_same(&built, &kept, (0..2048).map(|seed| strings.of(seed)));
        assert_eq!(built.tables(), kept.tables());
    }
}

#[test]
fn ids_are_those_of_a_tokenizer_that_was_built_from_real_vocabularies() {
    for name in ["gemma3-270m", "smollm2"] {
        let artifact = artifact(name);
        let built = Tokenizer::from_header(artifact.header()).unwrap();
        let kept = Tokenizer::from_tables(artifact.header(), owned(built.tables().unwrap())).unwrap();
        assert_same(&built, &kept, Strings::new().all());
    }
}

#[test]
fn what_the_library_runs_has_no_tables() {
    let json: serde_json::Value = serde_json::from_str(super::exact::WORDPIECE).unwrap();
    assert_eq!(word_pieces(&json).tables(), None);
}

/// Whoever changes what is kept, or how it is made, raises [`TABLES_LAYOUT`]: tables of another program are in the folder.
#[test]
fn tables_are_those_of_this_layout() {
    let digest = |writer: &GgufWriter| {
        let tokenizer = read(writer).unwrap();
        let words = tokenizer.tables().unwrap().into_iter().flat_map(|table| match table {
            Table::Bytes(bytes) => bytes.iter().map(|byte| u32::from(*byte)).collect::<Vec<u32>>(),
            Table::Words(words) => words.into_owned(),
        });
        hash(words)
    };
    let digests: Vec<String> = fixtures().iter().map(|writer| format!("{:016x}", digest(writer))).collect();
    assert_eq!(
        (TABLES_LAYOUT, &*digests.join(" ")),
        (2, "e88f22ed10d6383a 414db301068e8370 f1cf41ec72f5298a f1cf41ec72f5298a")
    );
}

#[test]
fn wrong_tables_are_none_and_never_panic() {
    let strings = Strings::new();
    for writer in fixtures() {
        let header = header(&writer);
        let tables = owned(read(&writer).unwrap().tables().unwrap());
        for missing in 0..tables.len() {
            let mut fewer = tables.clone();
            fewer.remove(missing);
            assert!(Tokenizer::from_tables(&header, fewer).is_none());
            let mut empty = tables.clone();
            empty[missing] = Table::Words(Vec::new().into());
            // An empty list of tokens is a list.
            let _ = Tokenizer::from_tables(&header, empty);
        }
        assert!(Tokenizer::from_tables(&header, [&tables[..], &tables[..1]].concat()).is_none());
        let mut random = Random::new(7);
        let (mut refused, mut used) = (0, 0);
        for round in 0..2000 {
            match Tokenizer::from_tables(&header, changed(&tables, &mut random)) {
                None => refused += 1,
                // In range, and so harmless.
                Some(tokenizer) => {
                    used += 1;
                    let ids = tokenizer.encode(&strings.of(round), Special::Parsed, Start::AsModel).unwrap();
                    let _ = tokenizer.decode(&ids);
                }
            }
        }
        assert!(refused > 0 && used > 0, "{refused} refused, {used} used");
    }
}

/// `tables` with one number changed, or one table shorter.
fn changed(tables: &[Table<'static>], random: &mut Random) -> Vec<Table<'static>> {
    let mut tables = tables.to_vec();
    let which = random.below(tables.len());
    match &mut tables[which] {
        Table::Bytes(bytes) if !bytes.is_empty() => {
            let (at, bytes) = (random.below(bytes.len()), bytes.to_mut());
            bytes[at] = u8::try_from(random.below(256)).unwrap();
            bytes.truncate(bytes.len() - usize::from(random.below(8) == 0));
        }
        Table::Words(words) if !words.is_empty() => {
            let (at, words) = (random.below(words.len()), words.to_mut());
            words[at] = match random.below(3) {
                0 => u32::MAX,
                1 => u32::try_from(random.below(1 << 31)).unwrap(),
                _ => u32::try_from(random.below(400)).unwrap(),
            };
            words.truncate(words.len() - usize::from(random.below(8) == 0));
        }
        _ => {}
    }
    tables
}
