//! How a request wants its tokens drawn.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use models::limits::LOGIT_BIAS_MAX;
use models::sampling::Sampling;

use super::Fields;
use super::fields::{Allowed, number_of};
use super::json::Node;
use crate::http::error::ApiError;

const TEMPERATURE: Allowed = Allowed { words: "from 0 to 2", holds: |value| (0.0..=2.0).contains(&value) };
const TOP_P: Allowed = Allowed { words: "above 0 and at most 1", holds: |value| value > 0.0 && value <= 1.0 };
const MIN_P: Allowed = Allowed { words: "from 0 to 1", holds: |value| (0.0..=1.0).contains(&value) };
const PENALTY: Allowed = Allowed { words: "from -2 to 2", holds: |value| (-2.0..=2.0).contains(&value) };
const BIAS: Allowed = Allowed { words: "from -100 to 100", holds: |value| (-100.0..=100.0).contains(&value) };
/// A smaller divisor could make a healthy model's logits infinite.
const REPETITION: Allowed = Allowed { words: "from 0.01 to 10", holds: |value| (0.01..=10.0).contains(&value) };

/// Whether the same request to the same model has the same answer again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Repeats {
    /// Nothing is drawn, or the request says from which seed.
    Yes,
    /// Each time something else is drawn.
    No,
}

/// Takes the fields of sampling out of a request. Without a `seed` each request gets one of its own.
pub(super) fn take(fields: &mut Fields) -> Result<(Sampling, Repeats), ApiError> {
    take_over(fields, Sampling::default())
}

/// The same, where what is not said is as `default` has it.
pub(crate) fn take_over(fields: &mut Fields, default: Sampling) -> Result<(Sampling, Repeats), ApiError> {
    let temperature = fields.number("temperature", TEMPERATURE)?.unwrap_or(default.temperature);
    let seed = seed(fields)?;
    let sampling = Sampling {
        // Nothing can be divided by what the arithmetic may flush to zero.
        temperature: if temperature < f32::MIN_POSITIVE { 0.0 } else { temperature },
        top_k: fields.integer("top_k", -1..=i128::from(u32::MAX))?.map_or(default.top_k, positive),
        top_p: fields.number("top_p", TOP_P)?.unwrap_or(default.top_p),
        min_p: fields.number("min_p", MIN_P)?.unwrap_or(default.min_p),
        repetition_penalty: repetition(fields)?.unwrap_or(default.repetition_penalty),
        presence_penalty: fields.number("presence_penalty", PENALTY)?.unwrap_or(default.presence_penalty),
        frequency_penalty: fields.number("frequency_penalty", PENALTY)?.unwrap_or(default.frequency_penalty),
        reach: default.reach,
        logit_bias: logit_bias(fields)?,
        seed: seed.unwrap_or_else(random_seed),
    };
    let repeats = if sampling.temperature == 0.0 || seed.is_some() { Repeats::Yes } else { Repeats::No };
    Ok((sampling, repeats))
}

/// The same of an interface that has only the fields of these `names`: the others are left for whoever refuses them.
pub(crate) fn take_named(
    fields: &mut Fields,
    names: &[&str],
    default: Sampling,
) -> Result<(Sampling, Repeats), ApiError> {
    take_over(&mut fields.only_named(names), default)
}

/// `top_k`, which 0 and -1 both switch off.
fn positive(top_k: i64) -> usize {
    usize::try_from(top_k).unwrap_or(0)
}

/// `repetition_penalty` (vLLM's name) or `repeat_penalty` (llama.cpp's).
fn repetition(fields: &mut Fields) -> Result<Option<f32>, ApiError> {
    let vllm = fields.number("repetition_penalty", REPETITION)?;
    let llama_cpp = fields.number("repeat_penalty", REPETITION)?;
    if vllm.is_some() && llama_cpp.is_some() && vllm != llama_cpp {
        return Err(ApiError::invalid_value(fields.path("repeat_penalty"), "contradicts `repetition_penalty`"));
    }
    Ok(vllm.or(llama_cpp))
}

/// Pairs of token id and bias, by id. Whether the vocabulary has the ids is for the model to say.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let path = fields.path("logit_bias");
    let entries = match fields.take("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Node::Object(entries)) => entries,
        Some(_) => return Err(ApiError::invalid_type(path, "an object from token ids to numbers")),
    };
    if entries.len() > LOGIT_BIAS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {LOGIT_BIAS_MAX} entries")));
    }
    let mut biases = Vec::with_capacity(entries.len());
    for (name, node) in entries {
        // Written in one way only, so that no id can be given twice.
        let id = name.parse().ok().filter(|id: &u32| id.to_string() == name);
        let id = id.ok_or_else(|| ApiError::invalid_value(path.as_str(), "has a name that is no token id"))?;
        biases.push((id, bias(&node, &format!("{path}.{name}"))?));
    }
    biases.sort_unstable_by_key(|(id, _)| *id);
    Ok(biases)
}

/// What is added to one token's logit.
pub(crate) fn bias(node: &Node, path: &str) -> Result<f32, ApiError> {
    number_of(node, path, BIAS)
}

/// Any 64 bits, with or without a sign.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
    let given = fields.integer::<i128>("seed", range)?;
    Ok(given.map(|seed| match u64::try_from(seed) {
        Ok(seed) => seed,
        Err(_) => i64::try_from(seed).expect("the range is checked").cast_unsigned(),
    }))
}

/// Differs from request to request: the standard library's hash keys come from the system's random numbers.
fn random_seed() -> u64 {
    RandomState::new().hash_one("seed")
}

#[cfg(test)]
mod tests {
    use models::limits::LOGIT_BIAS_MAX;
    use models::sampling::Sampling;

    use super::take;
    use crate::http::error::ApiError;
    use crate::http::wire::parse_object;
    use crate::http::wire::refusal::{each_refused, refused};

    fn parse(body: &[u8]) -> Result<Sampling, ApiError> {
        let mut fields = parse_object(body)?;
        let (sampling, _) = take(&mut fields)?;
        fields.finish()?;
        Ok(sampling)
    }

    #[test]
    fn row_29_values_that_cannot_be_sampled_with_are_refused() {
        let table = [
            (r#""temperature":-1"#, "invalid_value", "temperature"),
            (r#""temperature":2.01"#, "invalid_value", "temperature"),
            (r#""temperature":"NaN""#, "invalid_type", "temperature"),
            (r#""temperature":1e300"#, "invalid_value", "temperature"),
            (r#""top_p":0"#, "invalid_value", "top_p"),
            (r#""top_p":2"#, "invalid_value", "top_p"),
            (r#""top_p":-0.5"#, "invalid_value", "top_p"),
            (r#""top_p":1e-300"#, "invalid_value", "top_p"),
            (r#""top_k":-2"#, "invalid_value", "top_k"),
            (r#""top_k":1.5"#, "invalid_type", "top_k"),
            (r#""top_k":9223372036854775808"#, "invalid_value", "top_k"),
            (r#""min_p":1.5"#, "invalid_value", "min_p"),
            (r#""min_p":-0.1"#, "invalid_value", "min_p"),
            (r#""repetition_penalty":0"#, "invalid_value", "repetition_penalty"),
            (r#""repetition_penalty":1e-30"#, "invalid_value", "repetition_penalty"),
            (r#""repeat_penalty":11"#, "invalid_value", "repeat_penalty"),
            (r#""repeat_penalty":1.1,"repetition_penalty":1.2"#, "invalid_value", "repeat_penalty"),
            (r#""presence_penalty":2.5"#, "invalid_value", "presence_penalty"),
            (r#""frequency_penalty":-3"#, "invalid_value", "frequency_penalty"),
            (r#""seed":1.5"#, "invalid_type", "seed"),
            (r#""seed":"1""#, "invalid_type", "seed"),
            (r#""seed":-9223372036854775809"#, "invalid_type", "seed"),
        ];
        each_refused(parse, "", &table);
        let not_a_number = refused(parse(br#"{"temperature":NaN}"#));
        assert_eq!(not_a_number, ("invalid_json", None), "JSON has no NaN");
    }

    #[test]
    fn row_31_biases_that_cannot_be_applied_are_refused() {
        let table = [
            (r#""logit_bias":[]"#, "invalid_type", "logit_bias"),
            (r#""logit_bias":{"1":101}"#, "invalid_value", "logit_bias.1"),
            (r#""logit_bias":{"1":-1e9}"#, "invalid_value", "logit_bias.1"),
            (r#""logit_bias":{"1":"5"}"#, "invalid_type", "logit_bias.1"),
            (r#""logit_bias":{"-1":5}"#, "invalid_value", "logit_bias"),
            (r#""logit_bias":{"+1":5}"#, "invalid_value", "logit_bias"),
            (r#""logit_bias":{"01":5}"#, "invalid_value", "logit_bias"),
            (r#""logit_bias":{"1.0":5}"#, "invalid_value", "logit_bias"),
            (r#""logit_bias":{"hello":5}"#, "invalid_value", "logit_bias"),
            (r#""logit_bias":{"":5}"#, "invalid_value", "logit_bias"),
            (r#""logit_bias":{"4294967296":5}"#, "invalid_value", "logit_bias"),
        ];
        each_refused(parse, "", &table);
        let biased = |count: usize| {
            let entries: Vec<String> = (0..count).map(|id| format!("\"{id}\":-1")).collect();
            parse(format!("{{\"logit_bias\":{{{}}}}}", entries.join(",")).as_bytes())
        };
        assert_eq!(biased(LOGIT_BIAS_MAX).expect("as many as allowed").logit_bias.len(), LOGIT_BIAS_MAX);
        assert_eq!(refused(biased(LOGIT_BIAS_MAX + 1)).1.as_deref(), Some("logit_bias"));
        assert_eq!(refused(biased(1_000_000)).1.as_deref(), Some("logit_bias"));
    }

    #[test]
    fn what_is_given_is_taken() {
        let sampling = parse(
            br#"{"temperature":0.5,"top_k":40,"top_p":0.75,"min_p":0.25,"repeat_penalty":1.5,"presence_penalty":-2,
                "frequency_penalty":2,"logit_bias":{"10":-100,"2":1.5},"seed":42}"#,
        )
        .expect("all in range");
        assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p), (0.5, 40, 0.75, 0.25));
        assert_eq!(sampling.repetition_penalty, 1.5);
        assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (-2.0, 2.0));
        assert_eq!(sampling.logit_bias, [(2, 1.5), (10, -100.0)]);
        assert_eq!(sampling.seed, 42);
    }

    #[test]
    fn seeds_are_any_64_bits_and_differ_where_none_is_given() {
        let seed = |value: &str| parse(format!("{{\"seed\":{value}}}").as_bytes()).expect("a seed").seed;
        assert_eq!(seed("-1"), u64::MAX);
        assert_eq!(seed("18446744073709551615"), u64::MAX);
        assert_eq!(seed("-9223372036854775808"), 1 << 63);
        let own = || parse(b"{}").expect("nothing given").seed;
        assert!(own() != own() || own() != own(), "64 random bits are not the same three times");
    }

    #[test]
    fn switched_off_and_almost_off_are_off() {
        for body in [r#"{"top_k":-1}"#, r#"{"top_k":0}"#, "{}"] {
            assert_eq!(parse(body.as_bytes()).expect("off").top_k, 0);
        }
        let almost = parse(br#"{"temperature":1e-40}"#).expect("not negative");
        assert_eq!(almost.temperature, 0.0, "nothing is divided by a subnormal number");
    }
}
