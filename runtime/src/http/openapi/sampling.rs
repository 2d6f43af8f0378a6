//! Requests to generate: how tokens are drawn, within the bounds of those who read it.

use models::limits::LOGIT_BIAS_MAX;

use super::form::{Form, Member, anything, at_times, map_from, maybe, number_in, whole, whole_of_64_bits};
use crate::http::wire::samplers;

/// What is judged as 32 bits, and has to be above 0 there.
const LEAST: f64 = f32::from_bits(1) as f64;

pub(super) fn temperature() -> Member {
    maybe("temperature", number_in("0 takes the likeliest token each time.", 0.0..=2.0))
}

pub(super) fn top_k() -> Member {
    maybe("top_k", whole("So many of the likeliest tokens; 0 and -1 are all.", -1..=u32::MAX.into()))
}

pub(super) fn top_p() -> Member {
    maybe("top_p", number_in("The likeliest tokens that have this share together.", LEAST..=1.0))
}

/// How tokens are drawn.
pub(super) fn sampling() -> Vec<Member> {
    let penalty = |name| maybe(name, number_in("Of tokens that came before.", -2.0..=2.0));
    let repetition = |name| maybe(name, number_in("Divides the logits of tokens that came before.", 0.01..=10.0));
    vec![
        temperature(),
        top_k(),
        top_p(),
        maybe("min_p", number_in("Tokens with this share of the likeliest one's chance.", 0.0..=1.0)),
        repetition("repetition_penalty"),
        repetition("repeat_penalty"),
        penalty("presence_penalty"),
        penalty("frequency_penalty"),
        maybe("logit_bias", biases()),
        maybe("seed", whole_of_64_bits("The same seed gives the same answer.")),
    ]
}

/// Biases by token ids.
pub(super) fn biases() -> Form {
    let about = "From token ids to what is added to their logits.";
    map_from("^(0|[1-9][0-9]*)$", about, (number_in("", -100.0..=100.0), LOGIT_BIAS_MAX))
}

/// What llama.cpp and Ollama know of sampling beside the rest; what is not here, where it is switched off.
pub(super) fn absent_samplers() -> Vec<Member> {
    let mut members = switched_off();
    let window =
        "How many of the last tokens of prompt and answer penalties look at: 64 unless told, all (-1), or none (0).";
    members.push(maybe("repeat_last_n", whole(window, -1..=u32::MAX.into())));
    members
}

pub(super) fn switched_off() -> Vec<Member> {
    let only = |name, value: i64| maybe(name, whole("Not here: off.", value..=value));
    let mut members: Vec<Member> = samplers::OFF_AT_ONE.map(|name| only(name, 1)).into();
    members.extend(samplers::OFF_AT_ZERO.map(|name| only(name, 0)));
    let setting = |name| at_times(name, anything("Of what is off nothing else matters."));
    members.extend(samplers::SETTINGS_OF_OFF.map(setting));
    members
}
