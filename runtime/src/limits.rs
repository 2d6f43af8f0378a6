//! The bounds of the server, in one place. What an operator may change is in `config`.

use std::time::Duration;

/// Connections served at once; more wait in the socket's backlog.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Bytes of a configuration file.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Faults of it that are told at once.
pub(crate) const CONFIG_FAULTS_MAX: usize = 100;
/// Bytes of a prompt that a command reads, or of a message of a conversation.
pub(crate) const PROMPT_BYTES_MAX: usize = 8 << 20;
/// Lines of conversations that are kept for whoever typed them.
pub(crate) const CHAT_HISTORY_LINES_MAX: usize = 1000;
/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of all bodies being read and parsed at once.
pub(crate) const BODIES_BYTES_MAX: usize = 256 << 20;
/// Header lines of a request.
pub(crate) const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
pub(crate) const HEADER_BYTES_MAX: usize = 32 << 10;
/// From a connection's start, or the answer before, to the end of a request's head.
pub(crate) const HEADER_READ_MAX: Duration = Duration::from_secs(15);
/// From the end of the head to the end of the body.
pub(crate) const BODY_READ_MAX: Duration = Duration::from_secs(30);
/// How often a stream that asks is told what it waits for.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Pieces of an answer that may wait for a slow client.
pub(crate) const ANSWER_PIECES_MAX: usize = 64;
/// How long a client may take none of them before its request is cancelled.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);
/// How long a connection's peer may take nothing of what was sent before it is cut off.
pub(crate) const UNREAD_MAX: Duration = Duration::from_secs(60);
/// From arrival to the end of the answer, whatever the request says.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(3600);
/// How long running requests may take to end after the first signal; their rows, connections and models have as long
/// again.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether the configuration file is another one.
pub(crate) const CONFIG_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// The least time without use after which a server may end by itself.
pub(crate) const EXIT_WHEN_IDLE_MIN: Duration = Duration::from_secs(1);
/// How often it is looked again whether what keeps an unused server (a pinned model, a load, a pull) is over.
pub(crate) const KEPT_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// How long the process waits in the end for work that blocks.
pub(crate) const BLOCKED_MAX: Duration = Duration::from_secs(2);
/// Tokens of all answers of one request, echoed prompts included.
pub(crate) const ANSWER_TOKENS_MAX: usize = 1 << 20;
/// Bytes of a text that is encoded, or of a query or document.
pub(crate) const ENCODED_TEXT_BYTES_MAX: usize = 128 << 10;
/// Tokens of all texts of one request to an encoder.
pub(crate) const ENCODED_TOKENS_MAX: usize = 1 << 20;
/// Bytes of a text to tokenize.
pub(crate) const TOKENIZE_BYTES_MAX: usize = 1 << 20;
/// Texts tokenized or detokenized at once outside of generation.
pub(crate) const TOKENIZING_MAX: usize = 2;
/// Settlements that may wait for a ledger that does not take them.
pub(crate) const SETTLEMENTS_WAITING_MAX: usize = 4096;
/// Intervals of the accounts that may wait for it.
pub(crate) const INTERVALS_WAITING_MAX: usize = 4096;
/// Sequences that wait for their first step.
pub(crate) const QUEUE_MAX: usize = 256;
/// Requests that wait for their model's load, beside those.
pub(crate) const LOADING_MAX: usize = 1024;
/// A lease that takes longer is of a model that has to be loaded.
pub(crate) const AT_HAND_WITHIN: Duration = Duration::from_millis(20);
/// Memory of the kept descriptors (headers, tokenizers, templates), in KiB.
pub(crate) const DESCRIPTORS_KIB_MAX: u64 = 256 << 10;
/// Memory of an answer that is kept for whoever asks the same again.
pub(crate) const STORED_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Grammars that are compiled at once.
pub(crate) const GRAMMARS_COMPILING_MAX: usize = 2;
/// How long a request waits for its grammar, and for those before it.
pub(crate) const GRAMMAR_COMPILE_MAX: Duration = Duration::from_secs(2);
/// Memory of the compiled grammars that are kept, in KiB.
pub(crate) const GRAMMARS_KIB_MAX: u64 = 64 << 10;
/// What one of them is taken to need.
pub(crate) const GRAMMAR_BYTES_ASSUMED: usize = 512 << 10;
/// Memory of models' tokens that are arranged for grammars, in KiB.
pub(crate) const VOCABULARIES_KIB_MAX: u64 = 256 << 10;
/// Models whose steps' costs are remembered; each takes about 1 KiB.
pub(crate) const MODEL_COSTS_MAX: u64 = 1024;
/// Requests in a row that a model computes no numbers for before it is quarantined.
pub(crate) const STRIKES_MAX: u32 = 3;
/// Descriptors that wait to be written to their folder; those beyond are built again by the next process.
pub(crate) const DESCRIPTORS_WAITING_MAX: usize = 64;
/// How often what a request has used until now goes to the ledger: as much of it a crash may leave uncharged.
pub(crate) const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// How often old rows of the ledger are looked for.
pub(crate) const RETENTION_EVERY: Duration = Duration::from_secs(3600);
/// The least time that rows of the ledger are kept: no request goes on for longer.
pub(crate) const RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);
/// How often the accounts of held memory go to the ledger.
pub(crate) const ACCOUNTS_EVERY: Duration = Duration::from_secs(10);
/// How often the kernel is asked how much of mapped models is resident, at most.
pub(crate) const RESIDENCY_ASKED_EVERY: Duration = Duration::from_secs(1);
/// For how many times as long as that took nobody asks again.
pub(crate) const RESIDENCY_PAUSES: u32 = 49;
/// How often the host's sensors of energy are read: work must be seen in them within two seconds.
pub(crate) const ENERGY_READ_EVERY: Duration = Duration::from_secs(1);
/// How often what devices took goes to the ledger: a row for each device, whether anybody is there or not.
pub(crate) const ENERGY_STORED_EVERY: Duration = Duration::from_secs(60);
/// How long the server waits before it accepts again after it ran out of descriptors.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Messages of a conversation.
pub(crate) const MESSAGES_MAX: usize = 4096;
/// Functions that a request may offer.
pub(crate) const TOOLS_MAX: usize = 128;
/// Changes to a conversation that a request asks for.
pub(crate) const CONTEXT_EDITS_MAX: usize = 8;
/// Characters of a function's name.
pub(crate) const TOOL_NAME_CHARS_MAX: usize = 64;
/// Calls of a message.
pub(crate) const TOOL_CALLS_MAX: usize = 128;
/// Characters of a model's name.
pub(crate) const MODEL_NAME_CHARS_MAX: usize = 256;
/// Things that a request may ask an answer to include.
pub(crate) const INCLUDED_MAX: usize = 16;
/// Parts of an answer that a request may ask for alone.
pub(crate) const RESPONSE_FIELDS_MAX: usize = 64;
/// Entries of a request's metadata that its answer tells again.
pub(crate) const METADATA_MAX: usize = 16;
/// Bytes of `user`.
pub(crate) const USER_BYTES_MAX: usize = 512;
/// Pulls that clients ask for at once: one goes on, the others wait for it.
pub(crate) const PULLS_MAX: usize = 4;
/// News of a pull that may wait for a slow client; what does not fit is not told.
pub(crate) const PULL_NEWS_MAX: usize = 16;
/// How long a list of models may take to read what it tells of their headers; what it lacks the next one has.
pub(crate) const FACTS_READ_MAX: Duration = Duration::from_millis(250);
/// Models of whose headers it is remembered what lists tell.
pub(crate) const FACTS_KEPT_MAX: u64 = 1 << 14;
/// How long that is remembered: what could not be read may be readable by then.
pub(crate) const FACTS_KEPT_FOR: Duration = Duration::from_secs(600);
/// Bytes of a schema that comes as a text.
pub(crate) const SCHEMA_TEXT_BYTES_MAX: usize = 256 << 10;
/// Tokens to detokenize in one request.
pub(crate) const DETOKENIZE_TOKENS_MAX: usize = 1 << 20;
/// Characters of a field's name that an error tells back.
pub(crate) const ERROR_PARAM_CHARS_MAX: usize = 128;
/// Names of a body's unknown fields that are told where they pass.
pub(crate) const PASSED_FIELDS_MAX: usize = 16;
/// Characters of each.
pub(crate) const PASSED_FIELD_CHARS_MAX: usize = 64;
/// Values of a request's body, each list of token ids counted as one.
pub(crate) const BODY_VALUES_MAX: usize = 1 << 17;
/// Entries of any object in a request's body.
pub(crate) const OBJECT_ENTRIES_MAX: usize = 1024;
/// Tokens that an answer may be asked to have; a context is smaller.
pub(crate) const TOKENS_MAX: u32 = u32::MAX;
/// How long a request may ask its model to stay, unless for ever.
pub(crate) const KEEP_ALIVE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Tenants that have a label of their own in the metrics.
pub(crate) const METRIC_TENANTS_MAX: usize = 100;
/// Events of the pool that a listener may be behind.
pub(crate) const POOL_EVENTS_MAX: usize = 1024;
/// Clients that listen to the pool's events at once.
pub(crate) const POOL_LISTENERS_MAX: usize = 64;
/// How often a listener that hears nothing is told that the connection lives.
pub(crate) const LISTENER_SIGN_EVERY: Duration = Duration::from_secs(15);
/// Clients that follow the live figures at once, and those of them that are one tenant's.
pub(crate) const LIVE_FOLLOWERS_MAX: usize = 32;
/// See [`LIVE_FOLLOWERS_MAX`].
pub(crate) const LIVE_FOLLOWERS_PER_TENANT_MAX: usize = 8;
/// The least time between two changes that are told to one of them.
pub(crate) const LIVE_EVERY: Duration = Duration::from_millis(500);
/// How often the ledger is read for them.
pub(crate) const LIVE_READ_EVERY: Duration = Duration::from_secs(2);
/// How often the models' files are listed for them.
pub(crate) const LIVE_LISTED_EVERY: Duration = Duration::from_secs(10);
/// How long one of them is followed before its client has to ask, and to show who it is, again.
pub(crate) const LIVE_LASTS: Duration = Duration::from_secs(300);
/// Models that they are told of, those in memory first.
pub(crate) const LIVE_MODELS_MAX: usize = 256;
/// Sums of a tenant and a model that they are told of.
pub(crate) const LIVE_TOTALS_MAX: usize = 512;
/// Budgets that they are told of.
pub(crate) const LIVE_BUDGETS_MAX: usize = 256;
/// Receipts that are told to whoever begins to follow.
pub(crate) const LIVE_RECEIPTS_MAX: usize = 100;
/// The latest receipts that are kept at hand for them, all tenants' together, some 400 bytes each.
pub(crate) const RECEIPTS_KEPT_MAX: usize = 1000;
/// Moments at which it is remembered what had been saved: when there are more, every other one is forgotten.
pub(crate) const SAVINGS_POINTS_MAX: usize = 360;
/// Tenants of whom that is remembered apart.
pub(crate) const SAVINGS_POINT_TENANTS_MAX: usize = 100;
/// Browsers that are signed in at once, and those of them that are one tenant's.
pub(crate) const SIGN_INS_MAX: usize = 1024;
/// See [`SIGN_INS_MAX`].
pub(crate) const SIGN_INS_PER_TENANT_MAX: usize = 16;
/// How long a browser is signed in.
pub(crate) const SIGN_IN_LASTS: Duration = Duration::from_secs(12 * 3600);
/// How long a browser may remember what a page of another origin may do.
pub(crate) const PREFLIGHT_LASTS: Duration = Duration::from_secs(600);
/// How often the memory that there is is looked at again: a container's limit may change.
pub(crate) const MEMORY_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);
/// The least memory that a server may be asked to work in.
pub(crate) const MEMORY_BUDGET_BYTES_MIN: u64 = 1 << 20;
/// Loads at once that may be configured: each takes a thread.
pub(crate) const LOADS_PARALLEL_MAX: usize = 64;
/// Machines of the catalogue that savings are told by.
pub(crate) const MACHINES_MAX: usize = 64;
/// Characters of a machine's name.
pub(crate) const MACHINE_NAME_CHARS_MAX: usize = 64;
/// Devices of a server.
pub(crate) const DEVICES_MAX: usize = 16;
/// Characters of a device's name.
pub(crate) const DEVICE_NAME_CHARS_MAX: usize = 64;
/// Requests for a model that find out how fast it is on a device of which nothing is known.
pub(crate) const EXPLORED_REQUESTS: u32 = 1;
/// Bytes a second that a device loads, before any load was measured there.
pub(crate) const LOAD_BYTES_PER_SECOND_ASSUMED: u64 = 1_000_000_000;
/// Published contexts.
pub(crate) const CONTEXTS_MAX: usize = 1024;
/// Characters of a context's name.
pub(crate) const CONTEXT_NAME_CHARS_MAX: usize = 128;
/// What the ids of contexts begin with, and their names do not.
pub(crate) const CONTEXT_ID_PREFIX: &str = "ctx_";
/// Files of contexts that are mapped at once: models need places among the mapped files, too.
pub(crate) const CONTEXT_MAPPINGS_MAX: usize = 64;
/// Between two tries to pin what the configuration says.
pub(crate) const PIN_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Requests of a trace that is replayed; some 200 bytes each.
pub(crate) const TRACE_REQUESTS_MAX: usize = 10_000_000;
/// Bytes of a line of a trace: a receipt has some 2,000.
pub(crate) const TRACE_LINE_BYTES_MAX: usize = 1 << 20;
/// Parameters of a query.
pub(crate) const QUERY_PARAMETERS_MAX: usize = 64;
/// How old what is known of the stored keys may be: for so long a revoked key may still let someone in.
pub(crate) const KEYS_SEEN_WITHIN: Duration = Duration::from_millis(250);
/// Token buckets that are remembered; beyond, those that are full are forgotten.
pub(crate) const BUCKETS_KEPT_MAX: usize = 4096;
/// Bytes of a text that are about a token, before its model is known.
pub(crate) const TOKEN_BYTES_ASSUMED: usize = 4;
/// Tokens that an answer is taken to have that nobody bounds.
pub(crate) const ANSWER_TOKENS_ASSUMED: usize = 256;
/// Patterns of models that a key, or a tenant, may have.
pub(crate) const MODEL_PATTERNS_MAX: usize = 64;
/// Budgets of a key, or of a tenant.
pub(crate) const BUDGETS_MAX: usize = 16;
/// What a rate of requests may be at least and at most.
pub(crate) const REQUESTS_PER_SECOND_MIN: f64 = 1e-6;
/// See [`REQUESTS_PER_SECOND_MIN`].
pub(crate) const REQUESTS_PER_SECOND_MAX: f64 = 1e6;
/// Characters of a tenant's or a key's name.
pub(crate) const TENANT_CHARS_MAX: usize = 128;
/// Requests of a workload that is run.
pub(crate) const BENCH_REQUESTS_MAX: usize = 100_000;
/// Tokens of a prompt, or of an answer, of a workload.
pub(crate) const BENCH_REQUEST_TOKENS_MAX: u32 = 1 << 20;
/// Requests of a workload that wait for answers at once.
pub(crate) const BENCH_IN_FLIGHT_MAX: usize = 512;
/// Tenants of a workload: each may have a process of its own.
pub(crate) const BENCH_TENANTS_MAX: usize = 64;
/// Lines of a recorded workload.
pub(crate) const WORKLOAD_LINES_MAX: usize = 100_000_000;
/// Bytes of a line of one.
pub(crate) const WORKLOAD_LINE_BYTES_MAX: usize = 256;
