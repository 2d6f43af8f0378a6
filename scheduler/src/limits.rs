//! Every limit of this crate that is not an option of the pool or the executor.

use std::time::Duration;

/// Requests on their way to the pool's owner; further callers wait, each until its own deadline.
pub const POOL_REQUESTS_MAX: usize = 1024;
/// Inspections (a stat and a header) that run at once, each on a blocking thread.
pub const INSPECTIONS_MAX: usize = 8;
/// Evictions that a snapshot can still explain.
pub const EVICTIONS_REMEMBERED_MAX: usize = 64;
/// Absent models whose history (loads, last load time, quarantine) is kept.
pub const ABSENT_REMEMBERED_MAX: usize = 16_384;
/// Times from a model's use to its next that its automatic keep-alive looks at.
pub const GAPS_REMEMBERED_MAX: usize = 16;
/// A model larger than the budget leaves one part in so many of it to sequences.
pub const PAGED_KV_DIVISOR: u64 = 8;
/// The shortest delay that a refused client is told.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest delay that a client refused for overload is told.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// A waiting sequence's priority rises by one after each so long, so that nothing starves.
pub const PRIORITY_RISES_AFTER: Duration = Duration::from_secs(10);
/// Engines that hang at longer intervals than this are replaced for ever.
pub const ENGINES_HANG_WITHIN: Duration = Duration::from_secs(3600);
/// How long a step of a prompt that nobody waits for is predicted to take, unless [`CHUNK_TOKENS_ALONE_MIN`] take longer.
pub const CHUNK_ALONE_WALL_MAX: Duration = Duration::from_millis(60);
/// Prompt tokens of such a step at least: smaller chunks would compute the same at a higher cost.
pub const CHUNK_TOKENS_ALONE_MIN: u32 = 32;
/// Prompt tokens of a step beside others where nobody can tell how long it would take.
pub const CHUNK_TOKENS_UNPREDICTED: u32 = 64;
/// Prompt tokens of a step at least, however long it takes: prompts go on.
pub const CHUNK_TOKENS_MIN: u32 = 16;
/// Of the time that fair slices of others would take, how much a step that they share may: the rest makes up for waiting to
/// join.
pub const SHARED_PERCENT: u128 = 40;
/// For so long after a tenant's last step another's steps are short: it may come again, and waits for the one that runs.
pub const VISITS_LATELY: Duration = Duration::from_secs(60);
/// Such steps may take as long as so many that decode one token: what all share (reading the weights) is at most one of them,
/// so that short steps take no more than a sixth from throughput.
pub const SHORT_STEP_DECODES: u32 = 6;
/// Or as long as this.
pub const SHORT_STEP_WALL_MIN: Duration = Duration::from_millis(10);
/// The same of the steps of a tenant that is [`OWED_MIN`] behind all others.
pub const OWED_SHARED_PERCENT: u128 = 10;
/// Device time, at a weight of 1, by which a tenant is behind that was away: a third of what being away can earn.
pub const OWED_MIN: Duration = Duration::from_millis(100);
/// Device time that a tenant which was away may use before those who stayed, at a weight of 1: a request now and then is
/// served at once, whatever others have queued.
pub const ABSENT_CREDIT_MAX: Duration = Duration::from_millis(300);
/// Drafts of a step at most, all members' together.
pub const DRAFTS_PER_STEP_MAX: u32 = 32;
/// By so much drafts must be predicted to raise a step's tokens a second, in percent, or there are none.
pub const DRAFTS_GAIN_PERCENT_MIN: u32 = 5;
/// By so much they may lower those of one of its members.
pub const DRAFTS_SLOW_PERCENT_MAX: u32 = 5;
/// Drafts of a step that is to tell what drafts cost.
pub const PROBE_DRAFTS: u32 = 4;
/// How many of a thousand such drafts must be right: then the step is worth most of what it costs, whatever that is.
pub const PROBE_RIGHT_PERMILLE_MIN: u16 = 700;
/// Of so many steps that could tell it one does.
pub const PROBE_EVERY: u64 = 32;
/// The same while no step can be predicted.
pub const PROBE_EVERY_UNPREDICTED: u64 = 4;
/// Of a thousand drafts, how many must be right for some to be in every step whose cost is not known: four of these are
/// worth 3.1 tokens, so that they pay where one costs less than three quarters of a step.
pub const SURE_RIGHT_PERMILLE_MIN: u16 = 900;
/// A step with parts of prompts may take so many times what its decodes alone would, however long that is: prompts that
/// wait get at least the rest.
pub const DECODES_SLOWED_MAX: u32 = 2;
