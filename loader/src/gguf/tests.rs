//! The validator against valid, hostile and mutated headers. Rows are those of the table of faults.

#![allow(clippy::cast_possible_truncation, reason = "the numbers are small")]

use std::time::{Duration, Instant};

use super::*;
use crate::fixture::{FixtureTensor, FixtureValue, GgufWriter, Output, Random, TinyModel, tiny_model};
use crate::limits::{ALIGNMENT_MAX, HEADER_BYTES_MAX, KEYS_MAX, STRINGS_MAX, TENSORS_MAX};

/// One F32 tensor of 8 × 2 and one key.
fn small() -> GgufWriter {
    let mut writer = GgufWriter::new();
    writer.set("general.architecture", "llama");
    writer.push(FixtureTensor::new("a", TensorType::F32, &[8, 2], vec![1; 64]));
    writer
}

fn refusal(change: impl FnOnce(&mut GgufWriter)) -> FormatError {
    let mut writer = small();
    change(&mut writer);
    let started = Instant::now();
    let error = parse(&writer.to_bytes()).expect_err("the header is invalid");
    assert!(started.elapsed() < Duration::from_millis(100), "{error} took {:?}", started.elapsed());
    error
}

fn raw(type_id: u32, bytes: impl Into<Vec<u8>>) -> FixtureValue {
    FixtureValue::Raw { type_id, bytes: bytes.into() }
}

/// An array's head, followed by `content`.
fn array(element_id: u32, count: u64, content: &[u8]) -> FixtureValue {
    raw(9, [&element_id.to_le_bytes()[..], &count.to_le_bytes(), content].concat())
}

#[test]
fn a_tiny_model_parses_in_both_versions() {
    for version in [2, 3] {
        for output in [Output::Tied, Output::Separate] {
            let mut writer = tiny_model(&TinyModel { output, padding_bytes: 100, ..TinyModel::default() });
            writer.version = version;
            let bytes = writer.to_bytes();
            let header = parse(&bytes).unwrap();
            assert_eq!(header.format(), Format::Gguf { version });
            assert_eq!(header.tensor_count(), 2 * 9 + 2 + usize::from(output == Output::Separate));
            assert_eq!(header.data_offset() as usize, writer.header_bytes().len().next_multiple_of(32));
            for (expected, found) in writer.tensors.iter().zip(header.tensors()) {
                assert_eq!((expected.name.as_str(), expected.type_id), (found.name, found.ty.id()));
                assert_eq!(expected.dims, found.dims);
                let place = found.offset as usize..(found.offset + found.bytes) as usize;
                assert_eq!(expected.data, bytes[place]);
                assert_eq!(header.tensor(found.name), Some(found));
            }
            assert_eq!(header.tensor("blk.2.attn_q.weight"), None);
            assert!(header.keys().eq(writer.keys.iter().map(|(key, _)| key.as_str())));
        }
    }
}

#[test]
fn the_same_seed_writes_the_same_file() {
    let shape = TinyModel { hidden: 256, ffn: 256, ty: TensorType::Q4K, ..TinyModel::default() };
    let other = TinyModel { seed: 2, ..shape.clone() };
    assert_eq!(tiny_model(&shape).to_bytes(), tiny_model(&shape).to_bytes());
    assert_ne!(tiny_model(&shape).to_bytes(), tiny_model(&other).to_bytes());
}

#[test]
fn getters_convert_what_fits_and_name_what_does_not() {
    let mut writer = small();
    writer
        .set("u8", raw(0, [200]))
        .set("i8", raw(1, [0xFF]))
        .set("u16", raw(2, [1, 2]))
        .set("i16", raw(3, [0xFE, 0xFF]))
        .set("u64", FixtureValue::U64(1 << 40))
        .set("i64", raw(11, (-7_i64).to_le_bytes()))
        .set("f32", FixtureValue::F32(0.5))
        .set("f64", raw(12, 0.25_f64.to_le_bytes()))
        .set("bool", FixtureValue::Bool(true))
        .set("bytes", FixtureValue::String(vec![0xFF, 0xFE]))
        .set("strings", FixtureValue::Strings(vec![b"a".to_vec(), vec![], vec![0xC3], b"last".to_vec()]))
        .set("more", FixtureValue::Strings(vec![b"x".to_vec()]))
        .set("none", FixtureValue::Strings(vec![]))
        .set("i32s", FixtureValue::I32s(vec![-1, 2]))
        .set("u32s", array(4, 2, &[1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]))
        .set("f32s", FixtureValue::F32s(vec![1.5, f32::NEG_INFINITY]))
        .set("bools", array(7, 3, &[1, 0, 1]));
    let header = parse(&writer.to_bytes()).unwrap();
    assert_eq!(header.u32("u8"), Ok(Some(200)));
    assert_eq!(header.u32("u16"), Ok(Some(513)));
    assert_eq!(header.u64("u64"), Ok(Some(1 << 40)));
    assert_eq!(header.u32("absent"), Ok(None));
    assert_eq!(header.f32("f32"), Ok(Some(0.5)));
    assert_eq!(header.f32("f64"), Ok(Some(0.25)));
    assert_eq!(header.bool("bool"), Ok(Some(true)));
    assert_eq!(header.string("general.architecture"), Ok(Some("llama")));
    assert_eq!(header.i32s("i32s"), Ok(Some(vec![-1, 2])));
    assert_eq!(header.f32s("f32s"), Ok(Some(vec![1.5, f32::NEG_INFINITY])));
    assert_eq!(header.bools("bools"), Ok(Some(vec![true, false, true])));

    let strings = header.strings("strings").unwrap().unwrap();
    assert!(strings.iter().eq([b"a".as_slice(), b"", &[0xC3], b"last"]));
    assert_eq!((strings.len(), strings.get(3), strings.get(4)), (4, Some(b"last".as_slice()), None));
    assert!(header.strings("more").unwrap().unwrap().iter().eq([b"x"]));
    assert!(header.strings("none").unwrap().unwrap().is_empty());

    let out_of_range =
        |key: &str, value: &str, expected| FormatError::OutOfRange { key: key.into(), value: value.into(), expected };
    assert_eq!(header.u32("u64").unwrap_err(), out_of_range("u64", "1099511627776", "u32"));
    assert_eq!(header.u32("i8").unwrap_err(), out_of_range("i8", "-1", "u32"));
    assert_eq!(header.u64("i64").unwrap_err(), out_of_range("i64", "-7", "u64"));
    assert!(matches!(header.i32s("u32s"), Err(FormatError::OutOfRange { expected: "i32", .. })));
    assert_eq!(header.string("bytes"), Err(FormatError::NotUtf8 { key: "bytes".into() }));
    let wrong = |key: &str, expected, found| FormatError::WrongType { key: key.into(), expected, found };
    assert_eq!(header.u32("f32").unwrap_err(), wrong("f32", "u32", ValueType::Single(ElementType::F32)));
    assert_eq!(header.f32s("i32s").unwrap_err(), wrong("i32s", "array of f32", ValueType::Array(ElementType::I32)));
    assert_eq!(
        header.i32s("strings").unwrap_err(),
        wrong("strings", "array of i32", ValueType::Array(ElementType::String))
    );
    assert_eq!(header.bools("bool").unwrap_err(), wrong("bool", "array of bool", ValueType::Single(ElementType::Bool)));
    assert!(header.strings("bytes").is_err() && header.bool("u8").is_err() && header.f32("u8").is_err());

    let entries: Vec<_> = header.entries().collect();
    assert!(entries.contains(&("i16", Value::Signed(-2))));
    assert!(entries.contains(&("strings", Value::Array { element: ElementType::String, len: 4 })));
    assert!(entries.contains(&("bytes", Value::String(&[0xFF, 0xFE]))));
}

#[test]
fn row_1_too_short_wrong_magic_and_versions() {
    let whole = small().to_bytes();
    for length in 0..24 {
        assert_eq!(parse(&whole[..length]).unwrap_err(), FormatError::TooShort { file_bytes: length as u64 });
    }
    assert_eq!(refusal(|file| file.magic = *b"GGML"), FormatError::BadMagic { found: *b"GGML" });
    assert_eq!(refusal(|file| file.magic = *b"FUGG"), FormatError::ByteSwapped);
    assert_eq!(refusal(|file| file.version = 3_u32.swap_bytes()), FormatError::ByteSwapped);
    for version in [0, 1, 4, u32::MAX] {
        assert_eq!(refusal(|file| file.version = version), FormatError::UnsupportedVersion { version });
    }
}

#[test]
fn row_2_alignment() {
    let limit = ALIGNMENT_MAX;
    for alignment in [0, 3, 24, 1 << 31, ALIGNMENT_MAX * 2] {
        let error = refusal(|file| {
            file.set("general.alignment", FixtureValue::U32(alignment));
        });
        assert_eq!(error, FormatError::BadAlignment { alignment, limit });
    }
    let others: [(FixtureValue, ValueType); 4] = [
        (FixtureValue::U64(32), ValueType::Single(ElementType::U64)),
        (FixtureValue::I32(32), ValueType::Single(ElementType::I32)),
        ("32".into(), ValueType::Single(ElementType::String)),
        (FixtureValue::I32s(vec![32]), ValueType::Array(ElementType::I32)),
    ];
    for (value, found) in others {
        let error = refusal(|file| {
            file.set("general.alignment", value);
        });
        assert_eq!(error, FormatError::AlignmentType { found });
    }
    for alignment in [1, 8, 4096] {
        let mut file = small();
        file.push(FixtureTensor::new("b", TensorType::I8, &[3], vec![7; 3]));
        file.set("general.alignment", FixtureValue::U32(alignment)).alignment = alignment as usize;
        let bytes = file.to_bytes();
        let header = parse(&bytes).unwrap();
        assert_eq!(header.alignment(), alignment);
        assert_eq!(bytes[header.tensor("b").unwrap().offset as usize], 7);
    }
}

#[test]
fn row_3_counts_and_lengths_beyond_reason() {
    let huge = 1_u64 << 63;
    for count in [huge, u64::MAX, TENSORS_MAX + 1, 1000] {
        let error = refusal(|file| file.tensor_count = Some(count));
        assert!(matches!(error, FormatError::CountTooLarge { what: "tensors", count: c, .. } if c == count));
        let error = refusal(|file| file.key_count = Some(count));
        assert!(matches!(error, FormatError::CountTooLarge { what: "keys", count: c, .. } if c == count));
    }
    for length in [huge, u64::MAX, 1 << 20] {
        let error = refusal(|file| {
            file.set("text", raw(8, length.to_le_bytes()));
        });
        assert!(matches!(error, FormatError::PastEnd { what: "string", needed_bytes, .. } if needed_bytes == length));
        let error = refusal(|file| {
            file.set("texts", array(8, 1, &length.to_le_bytes()));
        });
        assert!(matches!(error, FormatError::PastEnd { what: "string in an array", .. }));
        // A key's length lies where the first key begins.
        let mut bytes = small().to_bytes();
        bytes[24..32].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(parse(&bytes).unwrap_err(), FormatError::PastEnd { what: "key", .. }));
    }
    let mut many = GgufWriter::new();
    (0..=KEYS_MAX).for_each(|key| many.keys.push((key.to_string(), FixtureValue::Bool(true))));
    assert!(matches!(parse(&many.to_bytes()).unwrap_err(), FormatError::CountTooLarge { what: "keys", .. }));
    many.keys.pop();
    assert_eq!(parse(&many.to_bytes()).unwrap().keys().len() as u64, KEYS_MAX);
}

#[test]
fn row_4_arrays_nested_or_longer_than_the_header() {
    let nested: Vec<u8> = std::iter::repeat_n([9_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec()], 10_000)
        .flatten()
        .flatten()
        .collect();
    let error = refusal(|file| {
        file.set("deep", raw(9, nested));
    });
    assert_eq!(error, FormatError::NestedArray { key: "deep".into() });
    for (element, count) in [(0, 1 << 30), (8, 1 << 60), (10, u64::MAX), (12, 1 << 61), (6, 1 << 32)] {
        let error = refusal(|file| {
            file.set("long", array(element, count, &[]));
        });
        assert_eq!(error, FormatError::ArrayTooLong { key: "long".into(), count });
    }
    for id in [13, 99, u32::MAX] {
        let unknown = FormatError::UnknownValueType { key: "odd".into(), id };
        assert_eq!(
            refusal(|file| {
                file.set("odd", raw(id, []));
            }),
            unknown
        );
        assert_eq!(
            refusal(|file| {
                file.set("odd", array(id, 0, &[]));
            }),
            unknown
        );
    }
    let error = refusal(|file| {
        file.set("flag", raw(7, [2]));
    });
    assert_eq!(error, FormatError::InvalidBool { key: "flag".into(), byte: 2 });
    let error = refusal(|file| {
        file.set("flags", array(7, 2, &[1, 255]));
    });
    assert_eq!(error, FormatError::InvalidBool { key: "flags".into(), byte: 255 });
}

#[test]
fn the_header_is_bounded_even_where_the_file_is_large() {
    let mut file = small();
    file.set("blob", FixtureValue::String(vec![b'x'; HEADER_BYTES_MAX as usize]));
    let error = parse(&file.to_bytes()).unwrap_err();
    assert!(matches!(error, FormatError::HeaderTooLarge { what: "string", .. }), "{error}");
    let empty_strings = vec![0; 8 * (STRINGS_MAX as usize + 1)];
    file.set("blob", array(8, STRINGS_MAX + 1, &empty_strings));
    let error = parse(&file.to_bytes()).unwrap_err();
    assert_eq!(error, FormatError::TooManyStrings { key: "blob".into(), limit: STRINGS_MAX });
    file.set("blob", array(8, STRINGS_MAX, &empty_strings[8..]));
    assert_eq!(parse(&file.to_bytes()).unwrap().strings("blob").unwrap().unwrap().len() as u64, STRINGS_MAX);
}

#[test]
fn row_5_dimensions() {
    let tensor = || "a".to_owned();
    let dims = |dims: &[u64]| refusal(|file| file.tensor_mut("a").dims = dims.into());
    assert_eq!(dims(&[1; 5]), FormatError::BadDimensionCount { tensor: tensor(), count: 5, limit: 4 });
    assert_eq!(dims(&[]), FormatError::BadDimensionCount { tensor: tensor(), count: 0, limit: 4 });
    assert_eq!(dims(&[8, 0, 2]), FormatError::ZeroDimension { tensor: tensor(), index: 1 });
    let wrapping = [
        vec![1 << 32, 1 << 32],
        vec![1 << 62, 4],
        vec![u64::MAX],
        vec![1 << 61],
        vec![(1 << 61) + 1, 8],
        vec![1 << 16, 1 << 16, 1 << 16, 1 << 16],
    ];
    for wrapping in wrapping {
        assert_eq!(dims(&wrapping), FormatError::SizeOverflow { tensor: tensor(), dims: wrapping });
    }
    let error = refusal(|file| {
        file.tensor_mut("a").type_id = TensorType::Q4K.id();
        file.tensor_mut("a").dims = vec![255];
    });
    assert!(matches!(error, FormatError::RaggedRows { width: 255, block_len: 256, .. }), "{error}");
    for id in [4, 5, 31, 42, u32::MAX] {
        let error = refusal(|file| file.tensor_mut("a").type_id = id);
        assert_eq!(error, FormatError::UnknownTensorType { tensor: tensor(), id });
    }
}

#[test]
fn row_6_places_and_duplicates() {
    let second = || FixtureTensor::new("b", TensorType::F32, &[8], vec![2; 32]);
    let error = refusal(|file| file.tensor_mut("a").dims = vec![8, 3]);
    assert!(matches!(error, FormatError::TensorPastEnd { bytes: 96, offset: 0, .. }), "{error}");
    for offset in [1 << 20, !31, 64] {
        let error = refusal(|file| file.tensor_mut("a").offset = Some(offset));
        assert!(matches!(error, FormatError::TensorPastEnd { offset: o, .. } if o == offset), "{error}");
    }
    let error = refusal(|file| file.tensor_mut("a").offset = Some(8));
    assert_eq!(error, FormatError::Unaligned { tensor: "a".into(), offset: 8, alignment: 32 });
    for (offset, first, last) in [(0, "a", "b"), (32, "a", "b")] {
        let error = refusal(|file| file.push(second()).tensor_mut("b").offset = Some(offset));
        let FormatError::Overlap { first: one, second: other } = error else { panic!("{error}") };
        let mut names = [one, other];
        names.sort();
        assert_eq!(names, [first, last]);
    }
    let error = refusal(|file| {
        file.push(FixtureTensor { name: "a".into(), ..second() });
    });
    assert_eq!(error, FormatError::DuplicateTensor { tensor: "a".into() });
    let error = refusal(|file| file.keys.push(("general.architecture".into(), FixtureValue::Bool(true))));
    assert_eq!(error, FormatError::DuplicateKey { key: "general.architecture".into() });

    let mut swapped = small();
    swapped.push(second());
    swapped.tensor_mut("a").offset = Some(32);
    swapped.tensor_mut("b").offset = Some(0);
    let header = parse(&swapped.to_bytes()).unwrap();
    assert!(header.tensor("a").unwrap().offset > header.tensor("b").unwrap().offset, "any order is accepted");
}

#[test]
fn names_are_text_and_short() {
    let name = |name: &str| refusal(|file| file.tensors[0].name = name.into());
    assert!(matches!(name(""), FormatError::NameEmpty { what: "tensor name", .. }));
    assert!(matches!(name(&"n".repeat(257)), FormatError::NameTooLong { length: 257, .. }));
    let mut bytes = small().to_bytes();
    bytes[32] = 0xFF;
    assert_eq!(parse(&bytes).unwrap_err(), FormatError::NameNotUtf8 { what: "key", offset: 24 });
    // Messages stay short whatever the file says.
    let long = "k".repeat(60_000);
    let error = refusal(|file| {
        file.set(&long, raw(99, []));
    });
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn every_tensor_type_has_its_place() {
    for &ty in TensorType::ALL {
        assert_eq!(TensorType::from_id(ty.id()), Some(ty));
        let mut file = GgufWriter::new();
        let data = vec![0; ty.tensor_bytes(&[512, 3]).unwrap() as usize];
        file.push(FixtureTensor::new("t", ty, &[512, 3], data));
        let header = parse(&file.to_bytes()).unwrap();
        assert_eq!(header.tensor("t").unwrap().bytes, 512 * 3 / ty.block_len() * ty.block_bytes());
    }
    assert_eq!(TensorType::Q4_1.tensor_bytes(&[64, 2]), Some(80));
    assert_eq!(TensorType::Q6K.tensor_bytes(&[100]), None);
    assert_eq!(TensorType::F32.tensor_bytes(&[]), None);
}

#[test]
fn no_mutation_panics_or_takes_long() {
    let mut writer = tiny_model(&TinyModel { layers: 1, hidden: 32, ffn: 32, heads: 2, ..TinyModel::default() });
    // Behind the header the file is only length.
    let header_bytes = writer.header_bytes().len();
    writer.padding_bytes = 4096;
    let whole = writer.to_bytes();
    let mut random = Random::new(20);
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    const CASES: usize = 30_000;
    for _ in 0..CASES {
        let mut bytes = whole.clone();
        match random.below(4) {
            0 => bytes.truncate(random.below(header_bytes)),
            1 => flip(&mut bytes[..header_bytes], &mut random),
            2 => set_word(&mut bytes[..header_bytes], &mut random),
            _ => (0..=random.below(8)).for_each(|_| flip(&mut bytes[..header_bytes], &mut random)),
        }
        let started = Instant::now();
        let parsed = parse(&bytes);
        slowest = slowest.max(started.elapsed());
        match parsed {
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() < 1000);
            }
            Ok(header) => read_all(&header, bytes.len()),
        }
    }
    assert!(refused > CASES / 4, "only {refused} of the mutations were noticed");
    assert!(slowest < Duration::from_secs(1), "one mutation took {slowest:?}");
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    let index = random.below(bytes.len());
    bytes[index] ^= 1 << random.below(8);
}

/// Puts one of the numbers at which arithmetic goes wrong somewhere.
fn set_word(bytes: &mut [u8], random: &mut Random) {
    const WORDS: [u64; 8] = [0, 1, 1 << 31, u32::MAX as u64, 1 << 32, 1 << 63, u64::MAX - 7, u64::MAX];
    let index = random.below(bytes.len() - 8);
    bytes[index..index + 8].copy_from_slice(&WORDS[random.below(WORDS.len())].to_le_bytes());
}

/// Everything that a reader may ask of an accepted header.
fn read_all(header: &Header, file_bytes: usize) {
    for tensor in header.tensors() {
        assert!((tensor.offset + tensor.bytes) as usize <= file_bytes);
        assert_eq!(header.tensor(tensor.name).unwrap().offset, tensor.offset);
    }
    for (key, _) in header.entries() {
        let results = [
            header.string(key).is_ok(),
            header.u64(key).is_ok(),
            header.f32(key).is_ok(),
            header.bool(key).is_ok(),
            header.i32s(key).is_ok(),
            header.f32s(key).is_ok(),
            header.bools(key).is_ok(),
            header.strings(key).is_ok_and(|strings| strings.is_some_and(|strings| strings.iter().count() < usize::MAX)),
        ];
        assert!(results.iter().filter(|ok| **ok).count() <= 1, "{key} has two types");
    }
}
