//! A chat template and what is said, with a zero between them.

#![no_main]

use std::sync::LazyLock;

use fuzz::{Kind, tokenizer};
use libfuzzer_sys::fuzz_target;
use models::template::{ChatTemplate, Message};
use models::tokenizer::Tokenizer;

/// Tokens after which a prompt is given up.
const TOKENS_MAX: usize = 4096;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| tokenizer(Kind::Bytes));

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (source, said) = text.split_once('\0').unwrap_or((text, "Hi"));
    let Ok(template) = ChatTemplate::compile(source, &TOKENIZER) else { return };
    let roles = ["user", "assistant"].into_iter().cycle();
    let message =
        |(content, role): (&str, &str)| Message { role: role.into(), content: content.into(), ..Message::default() };
    let messages: Vec<Message> = said.split('\0').zip(roles).map(message).collect();
    let Ok(ids) = template.encode(&messages, &TOKENIZER, TOKENS_MAX) else { return };
    assert!(ids.iter().all(|&id| (id as usize) < TOKENIZER.len()));
});
