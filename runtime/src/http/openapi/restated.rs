//! What is done anyway, as clients of vLLM and llama.cpp say it.

use super::form::{Member, always, flag, maybe, text_of, whole};
use super::generation::{empty, switched_off};
use crate::limits::USER_BYTES_MAX;

/// Members of chats and completions.
pub(super) fn members() -> Vec<Member> {
    let mut members = vec![
        maybe("spaces_between_special_tokens", flag("There are none.")),
        maybe("cache_prompt", flag("What was computed is always used.")),
        maybe("id_slot", whole("Nobody chooses where it computes.", -1..=-1)),
        maybe("guided_decoding_backend", text_of("Means nothing here.", 0..=USER_BYTES_MAX)),
    ];
    let numbers = [("mirostat_mode", 0), ("top_n_sigma", -1), ("min_keep", 0), ("n_probs", 0), ("t_max_predict_ms", 0)];
    let numbers = numbers.into_iter().chain([("length_penalty", 1), ("priority", 0)]);
    members.extend(numbers.map(|(name, off)| maybe(name, whole("Not here: off.", off..=off))));
    let never = ["timings_per_token", "return_progress", "post_sampling_probs", "return_token_ids"];
    members.extend(never.map(|name| maybe(name, always("Not supported.", false))));
    members.extend(["logits_processors", "bad_words", "lora"].map(|name| maybe(name, empty())));
    members.push(maybe("use_beam_search", always("What is done anyway.", false)));
    members.extend(switched_off());
    members
}
