//! What llama.cpp and Ollama can ask of sampling: how far back penalties look, and what this server cannot do, in the settings
//! that switch it off.

use models::sampling::{Reach, Sampling};

use super::{Fields, Node};
use crate::http::error::ApiError;

/// Tokens that penalties look at where nothing is said, in both.
pub(crate) const WINDOW_TOKENS: usize = 64;

/// Samplers that are not here and that 1 switches off.
pub(crate) const OFF_AT_ONE: [&str; 2] = ["typical_p", "tfs_z"];
/// Samplers that are not here and that 0 switches off.
pub(crate) const OFF_AT_ZERO: [&str; 4] = ["mirostat", "dynatemp_range", "xtc_probability", "dry_multiplier"];
/// What is set of samplers that are not here.
pub(crate) const SETTINGS_OF_OFF: [&str; 8] = [
    "mirostat_tau",
    "mirostat_eta",
    "dynatemp_exponent",
    "xtc_threshold",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
];

/// Takes samplers that are not here: each may be named where it is switched off.
pub(crate) fn take_absent(fields: &mut Fields) -> Result<(), ApiError> {
    for off_at_one in OFF_AT_ONE {
        fields.only_number(off_at_one, 1)?;
    }
    for off_at_zero in OFF_AT_ZERO {
        fields.only_number(off_at_zero, 0)?;
    }
    // Of those that are off nothing else matters.
    for setting in SETTINGS_OF_OFF {
        fields.take(setting);
    }
    Ok(())
}

/// Takes `repeat_last_n`: how many of the last tokens of prompt and answer all penalties look at, which are all that the
/// context has (-1), or none (0).
pub(crate) fn take_window(fields: &mut Fields, sampling: &mut Sampling) -> Result<(), ApiError> {
    let window: Option<i64> = fields.integer("repeat_last_n", -1..=i128::from(u32::MAX))?;
    let off = Sampling::default();
    match window {
        None => sampling.reach = Reach::Last(WINDOW_TOKENS),
        Some(0) => {
            sampling.repetition_penalty = off.repetition_penalty;
            sampling.presence_penalty = off.presence_penalty;
            sampling.frequency_penalty = off.frequency_penalty;
        }
        Some(tokens) => sampling.reach = Reach::Last(usize::try_from(tokens).unwrap_or(usize::MAX)),
    }
    Ok(())
}

/// Whether anything is penalized.
pub(crate) fn is_penalized(sampling: &Sampling) -> bool {
    let off = Sampling::default();
    sampling.repetition_penalty != off.repetition_penalty
        || sampling.presence_penalty != off.presence_penalty
        || sampling.frequency_penalty != off.frequency_penalty
}

/// Drops a `seed` of -1, which means that there is none, also as 32 bits without a sign.
pub(crate) fn drop_no_seed(fields: &mut Fields) {
    fields.take_if("seed", |node| is_number(node, -1) || *node == Node::Integer(u32::MAX.into()));
}

/// Whether it is this number.
pub(crate) fn is_number(node: &Node, expected: i32) -> bool {
    match node {
        Node::Integer(number) => *number == i128::from(expected),
        Node::Float(number) => *number == f64::from(expected),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use models::sampling::{Reach, Sampling};

    use super::{take_absent, take_window};
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::each_refused;

    fn parse(body: &[u8]) -> Result<Sampling, ApiError> {
        let mut fields = parse_object(body)?;
        take_absent(&mut fields)?;
        let mut sampling = Sampling { repetition_penalty: 1.5, presence_penalty: 0.5, ..Sampling::default() };
        take_window(&mut fields, &mut sampling)?;
        fields.finish()?;
        Ok(sampling)
    }

    #[test]
    fn what_is_switched_on_is_refused_by_name() {
        let table = [
            (r#""typical_p":0.5"#, "unsupported_parameter", "typical_p"),
            (r#""mirostat":2"#, "unsupported_parameter", "mirostat"),
            (r#""dry_multiplier":0.8"#, "unsupported_parameter", "dry_multiplier"),
            (r#""repeat_last_n":-2"#, "invalid_value", "repeat_last_n"),
        ];
        each_refused(parse, "", &table);
        let kept = parse(br#"{"typical_p":1.0,"tfs_z":1,"mirostat":0,"mirostat_tau":5}"#);
        assert_eq!(kept.expect("all off").repetition_penalty, 1.5);
    }

    #[test]
    fn penalties_look_as_far_back_as_is_said() {
        let reach = |body: &str| parse(body.as_bytes()).expect(body).reach;
        assert_eq!(reach("{}"), Reach::Last(64));
        assert_eq!(reach(r#"{"repeat_last_n":7}"#), Reach::Last(7));
        assert_eq!(reach(r#"{"repeat_last_n":-1}"#), Reach::Last(usize::MAX));
        let none = parse(br#"{"repeat_last_n":0}"#).expect("looks at nothing");
        assert_eq!((none.repetition_penalty, none.presence_penalty), (1.0, 0.0));
    }
}
