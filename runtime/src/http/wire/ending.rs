//! What ends an answer beside its stop strings, from when on, and how much of that is shown: vLLM's names for it.

use models::generation::{Ending, Shown};
use models::limits::STOP_TOKENS_MAX;

use super::Fields;
use super::json::Node;
use crate::http::error::ApiError;
use crate::limits::TOKENS_MAX;

/// Takes `min_tokens`, `stop_token_ids` and `include_stop_str_in_output` of an answer that may have so many tokens.
pub(super) fn take(fields: &mut Fields, tokens_max: Option<usize>) -> Result<Ending, ApiError> {
    let tokens_min: usize = fields.integer("min_tokens", 0..=i128::from(TOKENS_MAX))?.unwrap_or(0);
    if tokens_max.is_some_and(|tokens_max| tokens_min > tokens_max) {
        return Err(ApiError::invalid_value(fields.path("min_tokens"), "is more than the answer may have"));
    }
    let tokens = tokens(fields)?;
    Ok(Ending { tokens, tokens_min, shown: shown(fields.flag("include_stop_str_in_output")?.unwrap_or(false)) })
}

/// Takes `skip_special_tokens`: whether the names of control tokens are left out.
pub(super) fn control_tokens(fields: &mut Fields) -> Result<Shown, ApiError> {
    Ok(shown(!fields.flag("skip_special_tokens")?.unwrap_or(true)))
}

fn shown(is_shown: bool) -> Shown {
    if is_shown { Shown::Yes } else { Shown::No }
}

/// Ids, in order and each once. Whether the vocabulary has them is for the model to say.
fn tokens(fields: &mut Fields) -> Result<Vec<u32>, ApiError> {
    const NAME: &str = "stop_token_ids";
    let path = fields.path(NAME);
    let mut ids = match fields.take(NAME).map(Node::with_ids) {
        None => return Ok(Vec::new()),
        Some(Node::List(items)) if items.is_empty() => return Ok(Vec::new()),
        Some(Node::Ids(ids)) => ids,
        Some(_) => return Err(ApiError::invalid_type(path, "an array of token ids")),
    };
    if ids.len() > STOP_TOKENS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {STOP_TOKENS_MAX} entries")));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::{each_refused, refused};

    fn parse(body: &[u8]) -> Result<(Ending, Shown), ApiError> {
        let mut fields = parse_object(body)?;
        let taken = (take(&mut fields, Some(8))?, control_tokens(&mut fields)?);
        fields.finish()?;
        Ok(taken)
    }

    #[test]
    fn what_ends_nothing_is_refused_by_name() {
        let table = [
            (r#""min_tokens":-1"#, "invalid_value", "min_tokens"),
            (r#""min_tokens":9"#, "invalid_value", "min_tokens"),
            (r#""min_tokens":1.5"#, "invalid_type", "min_tokens"),
            (r#""stop_token_ids":5"#, "invalid_type", "stop_token_ids"),
            (r#""stop_token_ids":[-1]"#, "invalid_type", "stop_token_ids"),
            (r#""stop_token_ids":["a"]"#, "invalid_type", "stop_token_ids"),
            (r#""include_stop_str_in_output":1"#, "invalid_type", "include_stop_str_in_output"),
            (r#""skip_special_tokens":"no""#, "invalid_type", "skip_special_tokens"),
        ];
        each_refused(parse, "", &table);
        let many = format!("{{\"stop_token_ids\":[{}0]}}", "1,".repeat(STOP_TOKENS_MAX));
        assert_eq!(refused(parse(many.as_bytes())), ("invalid_value", Some("stop_token_ids".to_owned())));
    }

    #[test]
    fn what_is_said_is_taken() {
        let all = br#"{"min_tokens":8,"stop_token_ids":[7,2.0,7],"include_stop_str_in_output":true,"skip_special_tokens":false}"#;
        let (ending, control_tokens) = parse(all).expect("all in range");
        assert_eq!(ending, Ending { tokens: vec![2, 7], tokens_min: 8, shown: Shown::Yes });
        assert_eq!(control_tokens, Shown::Yes);
        for nothing in ["{}", r#"{"stop_token_ids":[],"min_tokens":0,"skip_special_tokens":true}"#] {
            assert_eq!(parse(nothing.as_bytes()).expect("as ever"), (Ending::default(), Shown::No), "{nothing}");
        }
    }
}
