//! Where a text is cut before its bytes are joined: the pre-tokenizers that GGUF files name.
//!
//! Each is a chain of patterns; a step cuts every piece of the step before into its matches and what is between them.
//! The patterns are those of the models' own `tokenizer.json`, under the names that llama.cpp gives them
//! (`llama-vocab.cpp`). Their `(?i:'s|…)` is spelled out as there, and their `\s+(?!\S)` (whitespace leaves its last
//! character to what follows) is a [`Tail`]: without it, a pattern runs in time linear in the text.
//!
//! Deliberately absent, and refused by name: patterns that look further ahead (`tiny_aya`, `superbpe`, `afmoe`), and
//! names whose text is not spelled in GPT-2's alphabet (`gemma4`, `mmbert`, `whitespace`).

use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;

/// A chain of patterns and what its names say of the vocabulary.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    pub(super) names: &'static [&'static str],
    steps: &'static [&'static Step],
    whole_tokens: WholeTokens,
    begins: Begins,
}

/// Whether a piece that is a token is that token, whatever the merges make of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum WholeTokens {
    Kept,
    Merged,
}

/// Whether a text begins with the beginning token where the file does not say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begins {
    WithToken,
    Bare,
}

#[derive(Debug)]
struct Step {
    pattern: &'static str,
    tail: Tail,
    regex: OnceLock<Regex>,
}

/// What a match of whitespace leaves to the text that follows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tail {
    /// Nothing.
    Whole,
    /// Its last character, if it has another.
    LeavesLast,
    /// The same, unless it ends with a line's end.
    LeavesLastInLine,
}

impl Step {
    const fn new(pattern: &'static str, tail: Tail) -> Self {
        Self { pattern, tail, regex: OnceLock::new() }
    }

    /// The first match in `text` that begins at `from` or later.
    fn find(&self, text: &str, from: usize) -> Option<Range<usize>> {
        let found = match self.tail {
            Tail::Whole => self.regex().find_at(text, from)?.range(),
            // Such a pattern matches nearly everywhere: asking for a match right here keeps its automaton small.
            Tail::LeavesLast | Tail::LeavesLastInLine => text[from..].char_indices().find_map(|(gap, _)| {
                let begin = from + gap;
                self.regex().find(&text[begin..]).map(|found| begin..begin + found.end())
            })?,
        };
        let leaves = |last: char| match self.tail {
            Tail::Whole => false,
            Tail::LeavesLast => last.is_whitespace(),
            Tail::LeavesLastInLine => last.is_whitespace() && !matches!(last, '\r' | '\n'),
        };
        let last = text[found.clone()].chars().next_back().filter(|&last| found.end < text.len() && leaves(last));
        let end = found.end - last.map_or(0, char::len_utf8);
        let end = if end > found.start { end } else { found.end };
        (end > found.start).then_some(found.start..end)
    }

    fn regex(&self) -> &Regex {
        self.regex.get_or_init(|| {
            let regex = match self.tail {
                Tail::Whole => Regex::new(self.pattern),
                Tail::LeavesLast | Tail::LeavesLastInLine => Regex::new(&format!(r"\A(?:{})", self.pattern)),
            };
            regex.expect("a test compiles every pattern")
        })
    }
}

impl PreTokenizer {
    const fn new(names: &'static [&'static str], steps: &'static [&'static Step]) -> Self {
        Self { names, steps, whole_tokens: WholeTokens::Merged, begins: Begins::Bare }
    }

    const fn keeping_whole_tokens(self) -> Self {
        Self { whole_tokens: WholeTokens::Kept, ..self }
    }

    const fn beginning_with_token(self) -> Self {
        Self { begins: Begins::WithToken, ..self }
    }

    /// The one of a name (`tokenizer.ggml.pre`).
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PRE_TOKENIZERS.iter().find(|pre_tokenizer| pre_tokenizer.names.contains(&name))
    }

    /// Whether a piece that is a token is that token, whatever the merges make of it.
    pub(super) fn keeps_whole_tokens(&self) -> bool {
        self.whole_tokens == WholeTokens::Kept
    }

    /// Whether a text begins with the beginning token where the file does not say.
    pub(super) fn adds_bos(&self) -> bool {
        self.begins == Begins::WithToken
    }

    /// The pieces of `text`, in order and without gaps.
    pub(super) fn pieces<'a>(&self, text: &'a str) -> Pieces<'a> {
        let levels = if text.is_empty() { Vec::new() } else { vec![Level::new(text)] };
        Pieces { steps: self.steps, levels }
    }
}

/// Iterates over the pieces of a text.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    steps: &'static [&'static Step],
    /// A piece of each step that is being cut by the next.
    levels: Vec<Level<'a>>,
}

#[derive(Debug)]
struct Level<'a> {
    text: &'a str,
    /// Where the next piece begins.
    at: usize,
    /// A match that lies ahead.
    found: Option<Range<usize>>,
}

impl<'a> Level<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, found: None }
    }

    fn next(&mut self, step: &Step) -> Option<&'a str> {
        if self.at == self.text.len() {
            return None;
        }
        let found = self.found.take().or_else(|| step.find(self.text, self.at));
        let begin = self.at;
        match found {
            Some(found) if found.start == begin => self.at = found.end,
            Some(found) => {
                self.at = found.start;
                self.found = Some(found);
            }
            None => self.at = self.text.len(),
        }
        Some(&self.text[begin..self.at])
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let depth = self.levels.len();
            let level = self.levels.last_mut()?;
            match level.next(self.steps[depth - 1]) {
                Some(piece) if depth == self.steps.len() => return Some(piece),
                Some(piece) => self.levels.push(Level::new(piece)),
                None => drop(self.levels.pop()),
            }
        }
    }
}

pub(super) static PRE_TOKENIZERS: [PreTokenizer; 23] = [
    PreTokenizer::new(&["default"], &[&PUNCTUATION, &GPT2, &NUMBERS, &THREE_DIGITS]),
    PreTokenizer::new(
        &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "exaone4",
            "granite-docling",
        ],
        &[&GPT2],
    ),
    PreTokenizer::new(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        &[&DIGIT, &GPT2],
    ),
    PreTokenizer::new(&["falcon"], &[&FALCON_PUNCTUATION, &GPT2, &THREE_DIGITS]),
    PreTokenizer::new(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        &[&LLAMA3],
    )
    .keeping_whole_tokens()
    .beginning_with_token(),
    PreTokenizer::new(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[&LLAMA3]),
    PreTokenizer::new(&["glm4", "glm5"], &[&LLAMA3]).keeping_whole_tokens(),
    PreTokenizer::new(
        &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"],
        &[&QWEN2],
    ),
    PreTokenizer::new(&["qwen35"], &[&QWEN35]),
    PreTokenizer::new(&["ufakzeka"], &[&UFAKZEKA]),
    PreTokenizer::new(&["seed-coder"], &[&SEED_CODER]),
    PreTokenizer::new(&["bailingmoe", "bailingmoe2", "llada-moe"], &[&BAILING]),
    PreTokenizer::new(&["exaone-moe"], &[&EXAONE_MOE]),
    PreTokenizer::new(&["laguna"], &[&LINES, &QWEN2]),
    PreTokenizer::new(&["minicpm5"], &[&THREE_NUMBERS, &MINICPM5]).keeping_whole_tokens(),
    PreTokenizer::new(&["tekken"], &[&TEKKEN]).keeping_whole_tokens().beginning_with_token(),
    PreTokenizer::new(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[&GPT4O]),
    PreTokenizer::new(&["youtu"], &[&YOUTU_SCRIPTS, &YOUTU]).keeping_whole_tokens(),
    PreTokenizer::new(
        &["deepseek-llm"],
        &[&LINE_END, &DEEPSEEK_LETTERS, &DEEPSEEK_PUNCTUATION, &TRAILING_SPACE, &DEEPSEEK_IDEOGRAPHS, &NUMBERS],
    ),
    PreTokenizer::new(
        &["deepseek-coder"],
        &[&LINE_END, &SPACED_LETTERS, &SPACED_PUNCTUATION, &DEEPSEEK_IDEOGRAPHS, &DIGIT],
    ),
    PreTokenizer::new(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[&THREE_NUMBERS, &IDEOGRAPHS_AND_KANA, &DEEPSEEK3],
    ),
    PreTokenizer::new(&["poro-chat", "bloom", "gpt3-finnish"], &[&BLOOM]),
    PreTokenizer::new(&["viking"], &[&BLOOM, &DIGIT]),
];

static GPT2: Step = Step::new(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+", Tail::LeavesLast);
static DIGIT: Step = Step::new(r"\p{N}", Tail::Whole);
static NUMBERS: Step = Step::new(r"\p{N}+", Tail::Whole);
static THREE_NUMBERS: Step = Step::new(r"\p{N}{1,3}", Tail::Whole);
static THREE_DIGITS: Step = Step::new(r"[0-9][0-9][0-9]", Tail::Whole);
static PUNCTUATION: Step = Step::new(r"[\p{P}$+<=>^~|]+", Tail::Whole);
static FALCON_PUNCTUATION: Step = Step::new(r"[\p{P}$+<=>^~|`]+", Tail::Whole);
static LINES: Step = Step::new(r"[^\n]+|\n+", Tail::Whole);
static LINE_END: Step = Step::new(r"[\r\n]", Tail::Whole);
static TRAILING_SPACE: Step = Step::new(r"\s+$", Tail::Whole);
static SPACED_LETTERS: Step = Step::new(r"\s?\p{L}+", Tail::Whole);
static SPACED_PUNCTUATION: Step = Step::new(r"\s?\p{P}+", Tail::Whole);
static IDEOGRAPHS_AND_KANA: Step = Step::new(r"[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+", Tail::Whole);
static DEEPSEEK_IDEOGRAPHS: Step = Step::new(r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+", Tail::Whole);
static DEEPSEEK_PUNCTUATION: Step =
    Step::new(r"\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+", Tail::Whole);
static BLOOM: Step = Step::new(r" ?[^(\s|.,!?…。，、।۔،)]+", Tail::Whole);

/// English endings, a word with what is before it, numbers, other characters, line ends, spaces.
static LLAMA3: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static QWEN2: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static QWEN35: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static MINICPM5: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static UFAKZEKA: Step =
    Step::new(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+", Tail::LeavesLastInLine);
static SEED_CODER: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static BAILING: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+"
    ),
    Tail::LeavesLastInLine,
);
static EXAONE_MOE: Step = Step::new(
    concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+"
    ),
    Tail::LeavesLastInLine,
);
static DEEPSEEK3: Step = Step::new(
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
/// Capitals then small letters, or capitals alone, are a word.
static TEKKEN: Step = Step::new(
    concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static GPT4O: Step = Step::new(
    concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
        r"(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
        r"(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
static YOUTU_SCRIPTS: Step = Step::new(
    concat!(
        r"[\u{ac00}-\u{d7a3}\u{3131}-\u{318e}]+",
        r"|[\u{ff01}\u{2026}\u{201c}\u{201d}\u{2018}\u{2019}\u{2014}\u{ff1a}\u{ff1b}\u{ff0c}\u{3001}-\u{303f}\u{fe30}-\u{fe4f}]+",
        r"|[\u{3105}-\u{312f}]+|[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+"
    ),
    Tail::Whole,
);
static YOUTU: Step = Step::new(
    concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
        r"(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
        r"(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
    ),
    Tail::LeavesLastInLine,
);
/// Letters of alphabets that have cases, listed by the model's authors.
static DEEPSEEK_LETTERS: Step = Step::new(
    concat!(
        r#"\s?[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}"#,
        r#"\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}"#,
        r#"\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-"#,
        r#"\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-"#,
        r#"\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-"#,
        r#"\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-"#,
        r#"\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}"#,
        r#"-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-"#,
        r#"\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}"#,
        r#"\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-"#,
        r#"\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}"#,
        r#"\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}"#,
        r#"\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}"#,
        r#"\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}]+"#,
    ),
    Tail::Whole,
);
