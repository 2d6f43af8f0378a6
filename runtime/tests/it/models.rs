//! Models to serve, written for the occasion.

use std::path::Path;

use loader::fixture::{GgufWriter, TinyModel, tiny_model};
use serde_json::{Map, Value, json};

/// The id of the token of the byte 0; the other bytes follow. Below are the control tokens.
pub(crate) const FIRST_BYTE_ID: u32 = 3;
/// Tokens of every model here.
pub(crate) const VOCABULARY: u32 = 275;

/// A model that loads and answers in milliseconds. Trained for 512 positions.
pub(crate) fn quick() -> TinyModel {
    TinyModel::default()
}

/// A model of 18 MB that takes about a millisecond for a token, and minutes to fill its context: what it does can be
/// interrupted.
pub(crate) fn slow() -> TinyModel {
    TinyModel { layers: 8, hidden: 256, ffn: 512, kv_heads: 1, context_length: 1 << 16, ..TinyModel::default() }
}

/// Writes `shape` as `name`.gguf.
pub(crate) fn write(folder: &Path, name: &str, shape: &TinyModel) {
    write_file(folder, name, &tiny_model(shape));
}

/// Writes a file that may be spoiled as `name`.gguf.
pub(crate) fn write_file(folder: &Path, name: &str, writer: &GgufWriter) {
    writer.write_to(&folder.join(format!("{name}.gguf"))).unwrap();
}

/// Writes a quick model called `good`.
pub(crate) fn good(folder: &Path) {
    write(folder, "good", &quick());
}

/// Writes a quick model with room for long prompts, called `good`, and one called `thinker` whose template knows tools, and
/// whose answers begin with thoughts unless it is told otherwise.
pub(crate) fn good_and_thinker(folder: &Path) {
    const TEMPLATE: &str = "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}\
        {% if tools %}{{ tools | tojson }}<tool_call>{% endif %}assistant: \
        {% if enable_thinking is not defined or enable_thinking %}{{ '<think>' }}{% endif %}";
    let roomy = TinyModel { context_length: 4096, ..quick() };
    write(folder, "good", &roomy);
    let mut thinker = tiny_model(&roomy);
    thinker.set("tokenizer.chat_template", TEMPLATE);
    write_file(folder, "thinker", &thinker);
}

/// A function that can be called, and its arguments' schema.
pub(crate) const WEATHER: &str = "weather";

/// What it takes.
pub(crate) fn weather() -> Value {
    json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": { "city": { "enum": ["Rome", "Oslo"] } },
    })
}

/// Ids of a text's bytes, without merges.
pub(crate) fn byte_ids(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| FIRST_BYTE_ID + u32::from(byte)).collect()
}

/// A `logit_bias` that leaves nothing but small letters: random models otherwise answer with bytes that are no text.
pub(crate) fn letters_only() -> Value {
    let letters = (b'a'..=b'z').map(|letter| ((FIRST_BYTE_ID + u32::from(letter)).to_string(), json!(100)));
    Value::Object(letters.collect::<Map<_, _>>())
}

/// A completion that goes on until it is interrupted.
pub(crate) fn endless(model: &str) -> Value {
    json!({ "model": model, "prompt": "on and on", "max_tokens": 60_000, "ignore_eos": true, "temperature": 0 })
}
