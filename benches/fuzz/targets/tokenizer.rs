//! Texts for tokenizers of each kind, and `tokenizer.json`: the first byte says which.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Kind, tokenizer};
use libfuzzer_sys::fuzz_target;
use models::detokenizer::Detokenizer;
use models::tokenizer::{Special, Start, Tokenizer};

static TOKENIZERS: LazyLock<[(Kind, Tokenizer); 3]> =
    LazyLock::new(|| [Kind::Bytes, Kind::Spaces, Kind::Words].map(|kind| (kind, tokenizer(kind))));

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    match TOKENIZERS.get(usize::from(choice % 4)) {
        Some((kind, tokenizer)) => {
            if let Ok(text) = std::str::from_utf8(data) {
                encode(*kind, tokenizer, text);
            }
        }
        None => {
            if let Ok(tokenizer) = Tokenizer::from_json(data) {
                let _ = tokenizer.encode("The quick brown fox, 1234 times.", Special::Plain, Start::AsModel);
            }
        }
    }
});

fn encode(kind: Kind, tokenizer: &Tokenizer, text: &str) {
    let Ok(ids) = tokenizer.encode(text, Special::Plain, Start::Bare) else { return };
    if kind != Kind::Words {
        // WordPiece's token for unknown words is a control token.
        assert!(ids.iter().all(|&id| !tokenizer.is_control(id)), "text never becomes a control token");
    }
    if kind == Kind::Bytes {
        assert_eq!(tokenizer.decode(&ids), text, "bytes are kept");
    }
    let (mut detokenizer, mut streamed) = (Detokenizer::default(), String::new());
    for (index, &id) in ids.iter().enumerate() {
        let bytes = if index == 0 { tokenizer.first_bytes(id) } else { tokenizer.bytes(id) };
        detokenizer.push(bytes, &mut streamed);
    }
    detokenizer.finish(&mut streamed);
    assert_eq!(streamed, tokenizer.decode(&ids), "a stream is the whole");
    let few = tokenizer.encode_up_to(text, Special::Parsed, Start::AsModel, 4).map(|ids| ids.len());
    assert!(few.is_ok());
}
