//! What clients of other servers say of what is done here anyway: taken where it says that, refused by name otherwise.
//!
//! Deliberately absent: what would have to be done. Each of these, left out, means the same.

use super::Fields;
use super::json::Node;
use super::samplers::{is_number, take_absent};
use crate::http::error::ApiError;

/// What is done in any case, as vLLM's clients say it: an answer begins anew, and control tokens are never shown.
pub(crate) const ALWAYS: [&str; 2] = ["add_generation_prompt", "skip_special_tokens"];
/// What is never done, as vLLM's clients say it: neither is what stops an answer shown.
pub(crate) const NEVER: [&str; 3] = ["continue_final_message", "include_stop_str_in_output", "use_beam_search"];

/// Takes them from a chat or a completion.
pub(super) fn take(fields: &mut Fields) -> Result<(), ApiError> {
    for always in ALWAYS {
        fields.only(always, |node| *node == Node::Bool(true))?;
    }
    for never in NEVER {
        fields.only(never, |node| *node == Node::Bool(false))?;
    }
    fields.flag("spaces_between_special_tokens")?;
    fields.only("min_tokens", |node| is_number(node, 0))?;
    fields.only("stop_token_ids", |node| matches!(node, Node::List(ids) if ids.is_empty()))?;
    // llama.cpp's: pages that were computed are used in any case, and change no answer; nobody chooses where it computes.
    fields.flag("cache_prompt")?;
    fields.only("id_slot", |node| is_number(node, -1))?;
    fields.only("mirostat_mode", |node| is_number(node, 0))?;
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
            br#"{"add_generation_prompt":true,"skip_special_tokens":true,"spaces_between_special_tokens":true,
                "continue_final_message":false,"include_stop_str_in_output":false,"use_beam_search":false,
                "min_tokens":0,"stop_token_ids":[],"cache_prompt":true,"id_slot":-1,"mirostat_mode":0,"typical_p":1.0}"#,
        )
        .expect("nothing is asked for");
    }

    #[test]
    fn what_would_have_to_be_done_is_refused_by_name() {
        let table = [
            (r#""add_generation_prompt":false"#, "unsupported_parameter", "add_generation_prompt"),
            (r#""skip_special_tokens":false"#, "unsupported_parameter", "skip_special_tokens"),
            (r#""continue_final_message":true"#, "unsupported_parameter", "continue_final_message"),
            (r#""include_stop_str_in_output":true"#, "unsupported_parameter", "include_stop_str_in_output"),
            (r#""use_beam_search":true"#, "unsupported_parameter", "use_beam_search"),
            (r#""min_tokens":1"#, "unsupported_parameter", "min_tokens"),
            (r#""stop_token_ids":[2]"#, "unsupported_parameter", "stop_token_ids"),
            (r#""cache_prompt":1"#, "invalid_type", "cache_prompt"),
            (r#""id_slot":0"#, "unsupported_parameter", "id_slot"),
            (r#""mirostat_mode":2"#, "unsupported_parameter", "mirostat_mode"),
            (r#""typical_p":0.5"#, "unsupported_parameter", "typical_p"),
        ];
        each_refused(parse, "", &table);
    }
}
