//! What clients of other servers say of what is done here anyway: taken where it says that, refused by name otherwise.
//!
//! Deliberately absent: what would have to be done. Each of these, left out, means the same.

use super::Fields;
use super::samplers::take_absent;
use crate::http::error::ApiError;

/// Settings of what is not here, each with the value that switches it off; `id_slot` chooses where to compute, which nobody does.
pub(crate) const SWITCHED_OFF: [(&str, i32); 8] = [
    ("length_penalty", 1),
    ("priority", 0),
    ("id_slot", -1),
    ("mirostat_mode", 0),
    ("top_n_sigma", -1),
    ("min_keep", 0),
    ("n_probs", 0),
    ("t_max_predict_ms", 0),
];
/// What is never done.
pub(crate) const NEVER: [&str; 5] =
    ["use_beam_search", "return_token_ids", "timings_per_token", "return_progress", "post_sampling_probs"];
/// What is not here, and empty asks for nothing.
pub(crate) const EMPTY: [&str; 3] = ["logits_processors", "bad_words", "lora"];
/// What changes no answer: the spaces between control tokens, which are none, and pages that were computed, which are used in
/// any case.
pub(crate) const EITHER: [&str; 2] = ["spaces_between_special_tokens", "cache_prompt"];
/// By what an answer is kept to its grammar, which changes nothing in it.
pub(crate) const BACKEND: &str = "guided_decoding_backend";

/// Takes them from a chat or a completion.
pub(super) fn take(fields: &mut Fields) -> Result<(), ApiError> {
    fields.bounded_text(BACKEND)?;
    for either in EITHER {
        fields.flag(either)?;
    }
    for (name, off) in SWITCHED_OFF {
        fields.only_number(name, off)?;
    }
    for never in NEVER {
        fields.only_off(never)?;
    }
    for empty in EMPTY {
        fields.only_empty(empty)?;
    }
    take_absent(fields)
}

#[cfg(test)]
mod tests {
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    fn parse(body: &[u8]) -> Result<(), ApiError> {
        let mut fields = parse_object(body)?;
        super::take(&mut fields)?;
        fields.finish()
    }

    #[test]
    fn what_is_done_anyway_may_be_said() {
        parse(
            br#"{"spaces_between_special_tokens":true,"use_beam_search":false,"cache_prompt":true,"id_slot":-1,
                "mirostat_mode":0,"typical_p":1.0,"guided_decoding_backend":"xgrammar","length_penalty":1.0,"priority":0,
                "return_token_ids":false,"logits_processors":[],"bad_words":[],"top_n_sigma":-1,"min_keep":0,"n_probs":0,
                "t_max_predict_ms":0,"timings_per_token":false,"return_progress":false,"post_sampling_probs":false,"lora":[]}"#,
        )
        .expect("nothing is asked for");
    }

    #[test]
    fn what_would_have_to_be_done_is_refused_by_name() {
        let table = [
            (r#""use_beam_search":true"#, "unsupported_parameter", "use_beam_search"),
            (r#""cache_prompt":1"#, "invalid_type", "cache_prompt"),
            (r#""id_slot":0"#, "unsupported_parameter", "id_slot"),
            (r#""mirostat_mode":2"#, "unsupported_parameter", "mirostat_mode"),
            (r#""typical_p":0.5"#, "unsupported_parameter", "typical_p"),
            (r#""length_penalty":0.5"#, "unsupported_parameter", "length_penalty"),
            (r#""bad_words":["a"]"#, "unsupported_parameter", "bad_words"),
            (r#""return_token_ids":true"#, "unsupported_parameter", "return_token_ids"),
            (r#""timings_per_token":true"#, "unsupported_parameter", "timings_per_token"),
            (r#""top_n_sigma":1"#, "unsupported_parameter", "top_n_sigma"),
            (r#""guided_decoding_backend":5"#, "invalid_type", "guided_decoding_backend"),
        ];
        each_refused(parse, "", &table);
    }
}
