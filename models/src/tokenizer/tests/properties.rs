//! What must hold for any text, any ids and any file.

use loader::fixture::{FixtureValue, GgufWriter, Random, TinyModel, tiny_model};
use serde_json::Value;

use super::super::split::PRE_TOKENIZERS;
use super::super::{Special, Start, Tokenizer};
use super::exact::{WORDPIECE, tokenizer};
use super::strings::Strings;
use crate::detokenizer::Detokenizer;
use crate::{ModelError, template::ChatTemplate, template::Message};

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

pub(super) fn read(writer: &GgufWriter) -> Result<Tokenizer, ModelError> {
    Tokenizer::from_header(&loader::gguf::parse(&writer.to_bytes()).unwrap())
}

/// The GGUF twin of a WordPiece in JSON.
pub(super) fn word_pieces(json: &Value) -> Tokenizer {
    let vocabulary = json["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![Vec::new(); vocabulary.len()];
    let mut types = vec![NORMAL; vocabulary.len()];
    for (token, id) in vocabulary {
        let id = usize::try_from(id.as_u64().unwrap()).unwrap();
        let special = id < 5;
        let gguf = match token.strip_prefix("##") {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ if special => token.clone(),
            _ => format!("▁{token}"),
        };
        tokens[id] = gguf.into_bytes();
        types[id] = if special { CONTROL } else { NORMAL };
    }
    let mut writer = GgufWriter::new();
    writer
        .set("tokenizer.ggml.model", "bert")
        .set("tokenizer.ggml.tokens", FixtureValue::Strings(tokens))
        .set("tokenizer.ggml.token_type", FixtureValue::I32s(types))
        .set("tokenizer.ggml.unknown_token_id", FixtureValue::U32(1))
        .set("tokenizer.ggml.cls_token_id", FixtureValue::U32(2))
        .set("tokenizer.ggml.seperator_token_id", FixtureValue::U32(3));
    read(&writer).unwrap()
}

/// A SentencePiece vocabulary in the manner of Llama 2: control tokens, bytes, then pieces with falling scores.
pub(super) fn spaces(pieces: &[(&str, f32, i32)]) -> GgufWriter {
    let control = ["<unk>", "<s>", "</s>"].map(|name| (name.to_owned(), 0.0, CONTROL));
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE));
    let pieces = pieces.iter().map(|&(piece, score, ty)| (piece.to_owned(), score, ty));
    let all: Vec<(String, f32, i32)> = control.into_iter().chain(bytes).chain(pieces).collect();
    let mut writer = GgufWriter::new();
    writer
        .set("tokenizer.ggml.model", "llama")
        .set(
            "tokenizer.ggml.tokens",
            FixtureValue::Strings(all.iter().map(|token| token.0.clone().into_bytes()).collect()),
        )
        .set("tokenizer.ggml.scores", FixtureValue::F32s(all.iter().map(|token| token.1).collect()))
        .set("tokenizer.ggml.token_type", FixtureValue::I32s(all.iter().map(|token| token.2).collect()));
    writer
}

pub(super) const PIECES: [(&str, f32, i32); 14] = [
    ("▁", -20.0, NORMAL),
    ("h", -21.0, NORMAL),
    ("e", -22.0, NORMAL),
    ("l", -23.0, NORMAL),
    ("o", -24.0, NORMAL),
    ("he", -3.0, NORMAL),
    ("ll", -2.0, NORMAL),
    ("hell", -9.0, NORMAL),
    ("lo", -1.0, NORMAL),
    ("▁he", -4.0, NORMAL),
    ("▁▁", -5.0, NORMAL),
    ("o▁", -0.4, NORMAL),
    ("o▁h", -0.5, NORMAL),
    ("[img]", 0.0, USER_DEFINED),
];

fn texts(tokenizer: &Tokenizer, text: &str, special: Special) -> Vec<String> {
    let ids = tokenizer.encode(text, special, Start::Bare).unwrap();
    ids.iter().map(|&id| tokenizer.text(id)).collect()
}

#[test]
fn the_best_score_joins_first_and_unknown_characters_become_bytes() {
    let tokenizer = read(spaces(&PIECES).set("tokenizer.ggml.add_space_prefix", FixtureValue::Bool(false))).unwrap();
    let plain = |text| texts(&tokenizer, text, Special::Plain);
    assert_eq!(plain("hello"), ["he", "l", "lo"], "`lo` is better than `ll`");
    assert_eq!(plain("hell"), ["hell"]);
    assert_eq!(plain("lll"), ["ll", "l"], "of equals the leftmost");
    assert_eq!(plain("o he  he"), ["o h", "e", " ", " he"], "a token that crosses a space keeps its words together");
    assert_eq!(plain("o▁h"), ["o h"], "what stands for a space is one");
    let bytes = tokenizer.encode("é", Special::Plain, Start::Bare).unwrap();
    assert_eq!(bytes, [3 + 0xc3, 3 + 0xa9]);
    assert_eq!(plain("he[img]he"), ["he", "[img]", "he"]);
    assert_eq!(tokenizer.encode("</s>", Special::Parsed, Start::Bare).unwrap(), [2]);
    assert!(!tokenizer.encode("</s>", Special::Plain, Start::Bare).unwrap().contains(&2));
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.added_bos()), (Some(1), Some(2), Some(1)));
}

#[test]
fn a_space_begins_a_text_and_follows_special_tokens_where_the_vocabulary_wants_it() {
    let tokenizer = read(&spaces(&PIECES)).unwrap();
    assert_eq!(texts(&tokenizer, "he", Special::Plain), [" he"]);
    assert_eq!(texts(&tokenizer, "</s>he[img]lo", Special::Parsed), ["</s>", " he", "[img]", " ", "lo"]);
    for text in ["he", " he", "  hello é 🦀", "lo he"] {
        let ids = tokenizer.encode(text, Special::Plain, Start::Bare).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
        let all: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.bytes(id)).copied().collect();
        assert_eq!(all, format!(" {text}").into_bytes(), "only the beginning of a text is without the space");
    }
}

#[test]
fn a_vocabulary_that_contradicts_itself_is_refused() {
    let refused = |writer: &GgufWriter| read(writer).unwrap_err().to_string();
    assert!(refused(&spaces(&[("a", 0.0, NORMAL), ("a", 1.0, NORMAL)])).contains("same text"));
    assert!(refused(&spaces(&[("a", f32::NAN, NORMAL)])).contains("not a number"));
    let mut few = spaces(&PIECES);
    few.set("tokenizer.ggml.scores", FixtureValue::F32s(vec![0.0]));
    assert!(refused(&few).contains("scores"));
    let mut tiny = tiny_model(&TinyModel::default());
    tiny.set("tokenizer.ggml.pre", "of-tomorrow");
    assert!(refused(&tiny).contains("tokenizer.ggml.pre `of-tomorrow`"));
    tiny.set("tokenizer.ggml.model", "t5");
    assert!(refused(&tiny).contains("tokenizer.ggml.model `t5`"));
    assert!(Tokenizer::from_json(b"{\"model\": 1}").is_err());
}

#[test]
fn a_whole_piece_that_is_a_token_is_that_token_where_the_name_says_so() {
    // `xyz` is a token, but no merges make it.
    let mut writer = tiny_model(&TinyModel::default());
    let tokenizer = read(&writer).unwrap();
    let mut tokens: Vec<Vec<u8>> =
        (0..u32::try_from(tokenizer.len()).unwrap()).map(|id| written(&tokenizer, id)).collect();
    tokens.push(b"xyz".to_vec());
    let kinds = (0..tokens.len()).map(|id| if id < 3 { CONTROL } else { NORMAL }).collect();
    writer
        .set("tokenizer.ggml.tokens", FixtureValue::Strings(tokens))
        .set("tokenizer.ggml.token_type", FixtureValue::I32s(kinds));
    assert_eq!(texts(&read(&writer).unwrap(), "xyz", Special::Plain), ["x", "y", "z"]);
    writer.set("tokenizer.ggml.pre", "llama-bpe").remove("tokenizer.ggml.add_bos_token");
    let llama = read(&writer).unwrap();
    assert_eq!(texts(&llama, "xyz", Special::Plain), ["xyz"]);
    assert_eq!(llama.encode("xyz", Special::Plain, Start::AsModel).unwrap().len(), 2, "this name begins with a token");
}

/// A token as a GGUF file of byte-level tokens writes it.
fn written(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let alphabet =
        |byte: &u8| (0..0x200).filter_map(char::from_u32).find(|&c| super::super::bytes::byte_of(c) == Some(*byte));
    if tokenizer.is_control(id) {
        return tokenizer.bytes(id).to_vec();
    }
    tokenizer.bytes(id).iter().filter_map(alphabet).collect::<String>().into_bytes()
}

#[test]
fn decoding_gives_the_text_back_and_plain_text_never_steers() {
    for name in ["gemma3-270m", "smollm2"] {
        let tokenizer = tokenizer(name);
        for text in Strings::new().all().step_by(4) {
            let ids = tokenizer.encode(&text, Special::Plain, Start::Bare).unwrap();
            assert!(ids.iter().all(|&id| !tokenizer.is_control(id)), "{name}: {text:?}");
            // This vocabulary lacks some control characters; the other has no `▁` that is not a space.
            let spelled = |c: &char| {
                !tokenizer.encode(c.encode_utf8(&mut [0; 4]), Special::Plain, Start::Bare).unwrap().is_empty()
            };
            let text: String =
                if name == "smollm2" { text.chars().filter(spelled).collect() } else { text.replace('▁', " ") };
            assert_eq!(tokenizer.decode(&ids), text, "{name}");
        }
    }
}

#[test]
fn streamed_pieces_are_the_whole_decoded() {
    let wordpiece = Tokenizer::from_json(WORDPIECE.as_bytes()).unwrap();
    let all = [tokenizer("gemma3-270m"), tokenizer("smollm2"), read(&spaces(&PIECES)).unwrap(), wordpiece];
    let mut random = Random::new(7);
    for tokenizer in &all {
        for _ in 0..500 {
            // Half of the ids are of bytes, so that characters are put together and broken off.
            let id = |random: &mut Random| match random.below(2) {
                0 => u32::try_from(random.below(tokenizer.len())).unwrap(),
                _ => u32::try_from(random.below(500.min(tokenizer.len()))).unwrap(),
            };
            let ids: Vec<u32> = (0..random.below(24)).map(|_| id(&mut random)).collect();
            let (mut detokenizer, mut text) = (Detokenizer::default(), String::new());
            for (index, &id) in ids.iter().enumerate() {
                let bytes = if index == 0 { tokenizer.first_bytes(id) } else { tokenizer.bytes(id) };
                detokenizer.push(bytes, &mut text);
            }
            detokenizer.finish(&mut text);
            assert_eq!(text, tokenizer.decode(&ids), "{ids:?}");
        }
    }
}

#[test]
fn giving_up_early_keeps_what_was_found() {
    for name in ["gemma3-270m", "smollm2"] {
        let tokenizer = tokenizer(name);
        let text = "It's 1234567890 o'clock, <h1> naïve\n\n".repeat(500);
        let all = tokenizer.encode(&text, Special::Plain, Start::Bare).unwrap();
        let some = tokenizer.encode_up_to(&text, Special::Plain, Start::Bare, 100).unwrap();
        assert!(some.len() > 100 && some.len() < 150, "{}", some.len());
        assert!(all.starts_with(&some));
    }
}

#[test]
fn user_defined_tokens_that_a_template_writes_steer_and_others_do_not() {
    let pieces: Vec<(&str, f32, i32)> =
        PIECES.iter().copied().chain([("<turn>", 0.0, USER_DEFINED), ("<b>", 0.0, USER_DEFINED)]).collect();
    let tokenizer = read(&spaces(&pieces)).unwrap();
    let template =
        ChatTemplate::compile("{{ bos_token }}{% for m in messages %}<turn>{{ m.content }}{% endfor %}", &tokenizer)
            .unwrap();
    let ids = |content: &str| {
        let message = Message { role: "user".to_owned(), content: content.to_owned(), ..Message::default() };
        template.encode(&[message], &tokenizer, usize::MAX).unwrap()
    };
    let turn = tokenizer.encode("<turn>", Special::Plain, Start::Bare).unwrap()[0];
    let bold = tokenizer.encode("<b>", Special::Plain, Start::Bare).unwrap()[0];
    let turns = |content: &str| ids(content).into_iter().filter(|&id| id == turn).count();
    assert_eq!(ids("he")[..2], [1, turn], "the template's own beginning token is not doubled");
    assert_eq!((turns("he"), turns("he<turn>lo"), turns("<tur"), turns("n>")), (1, 1, 1, 1));
    assert!(ids("he<b>lo").contains(&bold), "what only texts hold is found in them");
    assert!(!ids("</s><s>").iter().skip(1).any(|&id| id == 1 || id == 2));
}

#[test]
fn no_header_and_no_text_makes_a_tokenizer_panic() {
    let mut made = 0;
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let writer = hostile(&mut random);
        let Ok(header) = loader::gguf::parse(&writer.to_bytes()) else { continue };
        let Ok(tokenizer) = Tokenizer::from_header(&header) else { continue };
        made += 1;
        for _ in 0..4 {
            let bytes: Vec<u8> = (0..random.below(80)).map(|_| random.bits().to_le_bytes()[0]).collect();
            let text = String::from_utf8_lossy(&bytes);
            for special in [Special::Plain, Special::Parsed] {
                let ids = tokenizer.encode(&text, special, Start::AsModel).unwrap();
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.len()));
                let lossy = tokenizer.decode(&ids);
                assert!(lossy.len() <= 3 * ids.iter().map(|&id| tokenizer.bytes(id).len()).sum::<usize>());
            }
            tokenizer.encode_marked(&text, '\u{fffd}', 10).unwrap();
        }
        assert!(!tokenizer.decode(&[u32::MAX]).contains(char::is_alphanumeric), "an id past the end has no text");
    }
    assert!(made > 300, "only {made} of the files were taken");
}

/// A file that is nearly right: sizes agree mostly, everything else is chance.
fn hostile(random: &mut Random) -> GgufWriter {
    let mut tokens: Vec<Vec<u8>> = (0..random.below(40)).map(|_| hostile_token(random)).collect();
    if random.below(4) > 0 {
        tokens.sort_unstable();
        tokens.dedup();
    }
    let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>").into_bytes());
    let tokens: Vec<Vec<u8>> = if random.below(4) == 0 { tokens } else { bytes.chain(tokens).collect() };
    let count = if random.below(20) == 0 { random.below(300) } else { tokens.len() };
    let types = (0..count).map(|id| match random.below(2000) {
        0 => i32::try_from(random.below(9)).unwrap(),
        _ if id < 256 => BYTE,
        _ => [NORMAL, NORMAL, CONTROL, USER_DEFINED, 5][random.below(5)],
    });
    let types = types.collect();
    let scores =
        (0..count).map(|_| random.signed_unit() * if random.below(400) == 0 { f32::INFINITY } else { 9.0 }).collect();
    let mut merges = Vec::new();
    while random.below(2) > 0 && !tokens.is_empty() {
        let part = |random: &mut Random| tokens[random.below(tokens.len())].clone();
        merges.push([part(random), part(random)].join(&b' '));
    }
    let mut writer = GgufWriter::new();
    writer
        .set("tokenizer.ggml.model", ["llama", "llama", "gpt2", "gpt2", "bert"][random.below(5)])
        .set("tokenizer.ggml.pre", PRE_TOKENIZERS[random.below(PRE_TOKENIZERS.len())].names[0])
        .set("tokenizer.ggml.tokens", FixtureValue::Strings(tokens))
        .set("tokenizer.ggml.token_type", FixtureValue::I32s(types))
        .set("tokenizer.ggml.scores", FixtureValue::F32s(scores))
        .set("tokenizer.ggml.merges", FixtureValue::Strings(merges));
    for key in ["bos_token_id", "eos_token_id", "eot_token_id", "unknown_token_id"] {
        let id = u32::try_from(random.below(260)).unwrap();
        writer.set(&format!("tokenizer.ggml.{key}"), FixtureValue::U32(id));
    }
    writer
}

fn hostile_token(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => ["</s>", "<|end|>", "<|call|>", "<|return|>", "<0xZZ>", "<0x", "[EOS]", ""][random.below(8)].into(),
        1 => (0..random.below(6)).map(|_| random.bits().to_le_bytes()[0]).collect(),
        2 => "▁".repeat(random.below(4)).into_bytes(),
        _ => (0..1 + random.below(3))
            .map(|_| ["a", "b", "Ġ", "▁", "é", " ", "<"][random.below(7)])
            .collect::<String>()
            .into(),
    }
}
