//! Every limit of this crate. They bound what a hostile file, folder or server can cost; real ones stay far below.

use std::time::Duration;

/// Bytes of a GGUF file in front of its tensor data. Parsing keeps at most one copy, so that a hostile header costs
/// less than 64 MiB of resident memory, its touched pages included. The largest real ones, of vocabularies with
/// 260,000 tokens and 500,000 merges, take 16 MiB.
pub const HEADER_BYTES_MAX: u64 = 24 << 20;
/// Metadata keys of one file; real files have fewer than 100.
pub const KEYS_MAX: u64 = 4096;
/// Bytes of one key, as the specification has it.
pub const KEY_BYTES_MAX: u64 = 65_535;
/// Tensors of one file; the largest real ones have a few thousand.
pub const TENSORS_MAX: u64 = 65_536;
/// Bytes of a tensor's name. The specification says 64; some writers go beyond.
pub const TENSOR_NAME_BYTES_MAX: u64 = 256;
/// Dimensions of one tensor, as in ggml.
pub const DIMS_MAX: u32 = 4;
/// Strings in all arrays of one file together; each costs four bytes beside its text.
pub const STRINGS_MAX: u64 = 1 << 21;
/// `general.alignment`; the default is 32, and no page is larger than this where we run.
pub const ALIGNMENT_MAX: u32 = 1 << 20;

/// Bytes of a safetensors file in front of its tensor data; the format allows 100 MB, real ones stay below 2 MB.
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 8 << 20;
/// Bytes of a folder's `config.json`, `generation_config.json`, `modules.json` or of the pooling's configuration.
pub const CONFIG_BYTES_MAX: u64 = 512 << 10;
/// Bytes of `tokenizer_config.json`: some list thousands of added tokens.
pub const TOKENIZER_CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Bytes of `tokenizer.json`; those of 262,144 tokens take 33 MB.
pub const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// Bytes of `model.safetensors.index.json`: a line for each tensor.
pub const INDEX_BYTES_MAX: u64 = 8 << 20;
/// Bytes of `chat_template.jinja`.
pub const CHAT_TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// Files that one artifact is split into; half of what can be mapped at once.
pub const SHARDS_MAX: u32 = 128;

/// Folders below a root that a catalog descends into. A Hugging Face cache needs three.
pub const CATALOG_DEPTH_MAX: usize = 6;
/// Directory entries that one scan of a catalog looks at, over all roots: ten thousand folders of safetensors with a
/// dozen files each, twice.
pub const CATALOG_ENTRIES_MAX: usize = 1 << 18;
/// Directory times this recent may miss a change of the same tick (FAT counts in steps of two seconds).
pub const CATALOG_RACY_WINDOW: Duration = Duration::from_secs(2);
/// Looking whether a scan still holds is done for every question where it takes no longer than this.
pub const CATALOG_CHECK_FREE: Duration = Duration::from_millis(1);
/// Where it takes longer, it is put off to so many times its own duration, for names that are known.
pub const CATALOG_CHECK_PAUSE: u32 = 20;
/// But not longer than this.
pub const CATALOG_STALE_MAX: Duration = Duration::from_secs(1);
/// Bytes of a model's name; file systems allow 255 with the extension.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of one file of tables; those of 1,048,576 tokens with 2,097,152 merges take 120 MB.
pub const TABLES_FILE_BYTES_MAX: u64 = 128 << 20;
/// Bytes of all files of tables in a folder; the longest unused go first.
pub const TABLES_BYTES_MAX: u64 = 1 << 30;
/// Files of tables in a folder.
pub const TABLES_FILES_MAX: usize = 1024;
/// Tables in one file.
pub const TABLES_MAX: usize = 64;
/// What a writer that died left behind is removed when it is so old.
pub const UNNAMED_FILE_MAX: Duration = Duration::from_secs(60 * 60);

/// Bytes of one pulled file, unless a request says otherwise.
pub const PULL_BYTES_MAX: u64 = 256 << 30;
/// Bytes of an answer of the Hugging Face Hub about a repository.
pub const HUB_ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Entries of a wheel that is opened.
pub const WHEEL_ENTRIES_MAX: usize = 100_000;
/// Redirects that one download follows.
pub const REDIRECTS_MAX: u32 = 5;
/// Broken connections that one pull resumes by itself, as long as each brought bytes.
pub const RESUMES_MAX: u32 = 16;
/// A connection that takes longer to open is given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long is given up.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer of the Hugging Face Hub about a repository that takes longer in all, however it trickles, is given up.
pub const HUB_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A `pip download` that takes longer is ended.
pub const PIP_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// A pull waits so long for another one of the same file.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(60 * 60);
