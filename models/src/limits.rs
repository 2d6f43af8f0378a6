//! The bounds of this crate, in one place.

/// Layers of a model.
pub const LAYERS_MAX: u32 = 1024;
/// Attention heads of a layer.
pub const HEADS_MAX: u32 = 1024;
/// Width of a hidden state or of a feed-forward layer.
pub const WIDTH_MAX: u32 = 1 << 20;
/// Positions of a context window.
pub const CONTEXT_MAX: u32 = 1 << 24;
/// Entries of a vocabulary.
pub const VOCABULARY_MAX: usize = 1 << 20;
/// Merges of a vocabulary.
pub const MERGES_MAX: usize = 1 << 21;
/// Slots of a table of tokens or merges that a look-up may see.
pub const TOKEN_PROBES_MAX: usize = 256;
/// Bytes of a text that are handed to the library at a time, or a little more.
pub const ENCODE_WINDOW_BYTES: usize = 16 << 10;
/// Bytes of a text that is tokenized.
pub const TEXT_BYTES_MAX: usize = 1 << 31;
/// Bytes of a model's vectors that are kept as floats because they are stored otherwise; 126 layers of width 16,384 take 17
/// MB.
pub const CONVERTED_BYTES_MAX: usize = 64 << 20;
/// Percent of a model's bytes that were in the page cache when its load is called warm.
pub const CACHED_PERCENT_WARM: u64 = 95;
/// Positions of one block of the key-value cache.
pub const KV_BLOCK_POSITIONS: usize = 32;
/// Tokens of a prompt that one step computes: the wait of a cancellation.
pub const PREFILL_CHUNK_TOKENS: usize = 256;
/// Tokens of the texts that one step of an encoder computes; a longer text has a step of its own.
pub const ENCODER_STEP_TOKENS: usize = 512;
/// Types that a token of an encoder may have.
pub const TOKEN_TYPES_MAX: usize = 16;
/// Texts, or pairs of them, of one request to an encoder; of pairs whose texts are encoded apart, twice as many texts.
pub const PASSAGES_MAX: usize = 2048;
/// Bytes that a step of an encoder may work in, whose texts are computed whole.
pub const ENCODER_STEP_BYTES_MAX: usize = 128 << 20;
/// Bytes that a step over a whole chunk may work in.
pub const STEP_BYTES_MAX: usize = 1 << 30;
/// Positions whose logits exist at the same time when a whole prompt is scored.
pub const SCORED_POSITIONS_AT_ONCE: usize = 16;
/// How many times as long the steps of a `tokenizer.json` may make a text before it is tokenized.
pub const TEXT_GROWTH_MAX: u64 = 256;
/// Tokens that are guessed after an answer's last one.
pub const DRAFT_TOKENS_MAX: usize = 15;
/// Tokens of a match that are compared, where an answer's last tokens stood before.
pub const MATCH_TOKENS_MAX: usize = 16;
/// Slots of a table of where tokens of a sequence stood, of 4 bytes each; there are three.
pub const LOOKUP_SLOTS_MAX: usize = 1 << 15;
/// Instructions a chat template may execute.
pub const TEMPLATE_FUEL: u64 = 2_000_000;
/// Bytes of a chat template's source.
pub const TEMPLATE_SOURCE_BYTES_MAX: usize = 256 << 10;
/// Bytes of a rendered prompt.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 64 << 20;
/// Stop strings of a request.
pub const STOP_STRINGS_MAX: usize = 16;
/// Bytes of one stop string.
pub const STOP_STRING_BYTES_MAX: usize = 1024;
/// Tokens of a request's that end an answer.
pub const STOP_TOKENS_MAX: usize = 128;
/// Alternatives that a request may ask to see for every token.
pub const TOP_LOGPROBS_MAX: usize = 20;
/// Entries of a request's `logit_bias`.
pub const LOGIT_BIAS_MAX: usize = 1024;
/// Choices that a request may ask for each prompt.
pub const CHOICES_MAX: usize = 128;
/// Prompts of one request.
pub const PROMPTS_MAX: usize = 256;
/// Bytes of what a context's file says of it, in JSON.
pub const CONTEXT_ABOUT_BYTES_MAX: u64 = 16 << 10;
/// Bytes of a context's source, in JSON; a request's body has no more.
pub const CONTEXT_SOURCE_BYTES_MAX: u64 = 64 << 20;
/// Files of a folder of contexts that are looked at.
pub const CONTEXT_FILES_READ_MAX: usize = 8192;
/// Bytes of a grammar, or of the names and texts of a schema.
pub const GRAMMAR_BYTES_MAX: usize = 64 << 10;
/// Brackets that are open at once in a grammar or a regular expression: each takes some of a stack.
pub const GRAMMAR_NESTING_MAX: usize = 200;
/// Parts of a regular expression once its counts are written out.
pub const REGEX_SIZE_MAX: usize = 10_000;
/// Parts of a grammar in GBNF.
pub const GBNF_PARTS_MAX: usize = 4_000;
/// How many times a part of it may be repeated by a count.
pub const GBNF_TIMES_MAX: u32 = 2_000;
/// Characters of a part of it that is looked at as a word; what has more is made of smaller ones.
pub const GBNF_STATES_MAX: usize = 400;
/// Steps to find its words, of some nanoseconds and bytes each.
pub const GBNF_STEPS_MAX: usize = 20_000_000;
/// Values of a schema.
pub const SCHEMA_VALUES_MAX: usize = 10_000;
/// Parts of a schema that are looked at to see that it has an end.
pub const SCHEMA_STEPS_MAX: usize = 100_000;
/// References of a schema that are followed within each other.
pub const SCHEMA_REFERENCES_MAX: usize = 128;
/// Spaces and line breaks in a row between the parts of an answer in JSON.
pub const GRAMMAR_SPACES_MAX: usize = 20;
/// What compiling a grammar's words may cost; about 50,000 a millisecond.
pub const GRAMMAR_COMPILE_FUEL: u64 = 1_000_000;
/// Symbols of a compiled grammar.
pub const GRAMMAR_SYMBOLS_MAX: usize = 200_000;
/// What finding the allowed tokens may cost for its words, once; about 14,000 a millisecond.
pub const GRAMMAR_MASK_FUEL: u64 = 100_000;
/// What it may cost for its rules; about 20,000 a millisecond.
pub const GRAMMAR_MASK_ITEMS_MAX: usize = 50_000;
/// Rules that an answer may be in at once.
pub const GRAMMAR_ROW_ITEMS_MAX: usize = 2_000;
/// States of its words that one answer may come through, of up to 2 KiB each.
pub const GRAMMAR_STATES_MAX: usize = 20_000;
/// Bytes of stack that compiling a grammar may take: a schema's parts stand within each other.
pub const GRAMMAR_STACK_BYTES: usize = 64 << 20;
