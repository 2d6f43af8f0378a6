//! Writes the seeds of the corpus: `cargo run --example seeds` in this folder.

use std::fs;
use std::path::Path;

use fuzz::{TemporaryFolder, folder, tiny};
use loader::fixture::{Architecture, Output, TinyModel, tiny_model};

const TEXTS: [&str; 6] = [
    "The quick brown fox isn't 12345 years old.\r\n\tOr is it?",
    "  spaces   and\u{a0}others\u{3000}\u{2028}  ",
    "héllo wörld, e\u{301} 中文字符 日本語 한국어 العربية हिन्दी",
    "👩‍👩‍👧‍👦👍🏽🇩🇪 <|im_start|>user<|im_end|></s><0x41>▁",
    "fn main() { println!(\"{}\", 0x1F_u8 as f64 / 2e-3); }\n\n\n",
    "\u{0}\u{1}\u{7f}\u{feff}\u{fdd0}\u{10ffff}",
];

const TEMPLATES: [&str; 4] = [
    "{% for message in messages %}{{ message.role + ': ' + message.content|trim }}\n{% endfor %}",
    "{% set ns = namespace(a=0) %}{% for i in range(9) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ strftime_now('%d %b %Y') }}",
    "{% macro m(x) %}{{ x.upper().split(' ')[0] }}{% endmacro %}{% if tools is none %}{{ m(messages[-1]['content']) }}{% else %}{{ raise_exception('no') }}{% endif %}",
    "{{ messages|tojson(indent=2) }}{%- generation -%}{{ eos_token }}{%- endgeneration -%}",
];

const TOKENIZER_JSON: &str = r#"{"version":"1.0","added_tokens":[{"id":0,"content":"<s>","single_word":false,"lstrip":false,
"rstrip":false,"normalized":false,"special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel",
"add_prefix_space":false,"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel",
"add_prefix_space":false,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE","dropout":null,"unk_token":null,
"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
"vocab":{"<s>":0,"t":1,"h":2,"e":3,"th":4,"the":5},"merges":["t h","th e"]}}"#;

const TOKENIZER_CONFIG: &str = r#"{"bos_token":"<|im_start|>","eos_token":{"content":"<|im_end|>"},"add_bos_token":false,
"chat_template":[{"name":"default","template":"{{ messages[0].content }}"}]}"#;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(name), bytes)
    };
    use Architecture::{Gemma3, Llama, Qwen2, Qwen3, SmolLm3};
    for architecture in [Llama, SmolLm3, Qwen2, Qwen3, Gemma3] {
        let mut shape = TinyModel { architecture, ..tiny() };
        shape.output = if architecture == Llama { Output::Separate } else { Output::Tied };
        write("gguf", architecture.name(), &tiny_model(&shape).to_bytes())?;
    }
    let place = TemporaryFolder::new();
    folder().write_to(place.path())?;
    for (choice, file) in (0_u8..).zip(["model.safetensors", "config.json", "tokenizer.json"]) {
        let bytes = [&[choice], &*fs::read(place.path().join(file))?].concat();
        write("safetensors", file.split('.').next().unwrap_or(file), &bytes)?;
    }
    write("safetensors", "tokenizer_config", &[&[3], TOKENIZER_CONFIG.as_bytes()].concat())?;
    for (number, text) in TEXTS.iter().enumerate() {
        for kind in 0..3_u8 {
            write("tokenizer", &format!("text-{kind}-{number}"), &[&[kind], text.as_bytes()].concat())?;
        }
    }
    write("tokenizer", "json", &[&[3], TOKENIZER_JSON.as_bytes()].concat())?;
    for (number, template) in TEMPLATES.iter().enumerate() {
        write("template", &format!("seed-{number}"), format!("{template}\0Hi there\0<|im_end|> ok").as_bytes())?;
    }
    Ok(())
}
