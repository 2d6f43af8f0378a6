//! What is asked of `/completion` and `/apply-template`.

use models::generation::End;
use models::limits::{CHOICES_MAX, LOGIT_BIAS_MAX, PROMPTS_MAX, TOP_LOGPROBS_MAX};
use models::sampling::Sampling;
use models::template::Message;
use models::tokenizer::Special;

use crate::http::error::ApiError;
use crate::http::wire::generation::stops;
use crate::http::wire::sampling::bias;
use crate::http::wire::{
    ChatOptions, Common, Constraint, Delivery, Fields, Node, PromptInput, Urgency, constraint, inputs, keep_alive,
    messages_if_any, parse_object, samplers, sampling, take_turn,
};
use crate::limits::{RESPONSE_FIELDS_MAX, TOKENS_MAX};

/// What stands for a token that is never to come: its logit is out of reach of all others.
const NEVER: f32 = -100.0;

/// Texts to go on with.
#[derive(Debug)]
pub(super) struct CompletionRequest {
    pub(super) common: Common,
    /// At least one.
    pub(super) prompts: Vec<PromptInput>,
    pub(super) special: Special,
    pub(super) tokens: ShownTokens,
    pub(super) probabilities: ShownProbabilities,
    /// Paths of what an answer's last part has, and nothing else; all of it where there are none.
    pub(super) response_fields: Vec<String>,
}

/// Whether the ids of an answer's tokens are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShownTokens {
    Yes,
    No,
}

/// Whether log-probabilities are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShownProbabilities {
    Yes,
    No,
}

/// A conversation to put into the model's template.
#[derive(Debug)]
pub(super) struct TemplateRequest {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    /// What the template is given beside them.
    pub(super) options: ChatOptions,
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// [`ApiError`] with the path of the field that is wrong, unknown or unsupported.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let prompts = inputs::take(&mut fields, "prompt", PROMPTS_MAX)?;
        let delivery = Delivery::plain(fields.flag("stream")?.unwrap_or(false));
        let shows_tokens = fields.flag("return_tokens")?.unwrap_or(false) || delivery != Delivery::Whole;
        let top: usize = fields.integer("n_probs", 0..=TOP_LOGPROBS_MAX as i128)?.unwrap_or(0);
        let listed = listed_bias(&mut fields)?;
        let (mut sampling, repeats) = drawing(&mut fields)?;
        sampling.logit_bias.extend(listed);
        let choices =
            one_of(&mut fields, ["n_cmpl", "n"], |fields, name| fields.integer(name, 1..=CHOICES_MAX as i128))?;
        let common = Common {
            choices: choices.unwrap_or(1),
            tokens_max: tokens_max(&mut fields)?,
            stop: stops(&mut fields, "stop")?,
            end: if fields.flag("ignore_eos")?.unwrap_or(false) { End::Ignored } else { End::Honoured },
            // Tokens come with their log-probabilities.
            logprobs: (top > 0 || shows_tokens).then_some(top),
            delivery,
            constraint: held(&mut fields)?,
            keep_alive: keep_alive::take(&mut fields)?,
            urgency: Urgency::take(&mut fields)?,
            ..Common::plain(model, (sampling, repeats))
        };
        let response_fields = response_fields(&mut fields)?;
        take_harmless(&mut fields)?;
        take_unsupported(&mut fields, &common.sampling)?;
        fields.finish()?;
        Ok(Self {
            common,
            prompts,
            special: Special::Parsed,
            tokens: if shows_tokens { ShownTokens::Yes } else { ShownTokens::No },
            probabilities: if top > 0 { ShownProbabilities::Yes } else { ShownProbabilities::No },
            response_fields,
        })
    }
}

impl TemplateRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// As [`CompletionRequest::parse`].
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = parse_object(body)?;
        let model = fields.model()?;
        let messages = messages_if_any(&mut fields)?.ok_or_else(|| ApiError::missing_field(fields.path("messages")))?;
        let mut options = ChatOptions::take(&mut fields)?;
        take_turn(&mut fields, &mut options, &messages)?;
        fields.finish()?;
        Ok(Self { model, messages, options })
    }
}

/// Takes how tokens are drawn, llama.cpp's way where nothing is said.
fn drawing(fields: &mut Fields) -> Result<(Sampling, sampling::Repeats), ApiError> {
    samplers::drop_no_seed(fields);
    let default = Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..Sampling::default() };
    let (mut sampling, repeats) = sampling::take_over(fields, default)?;
    samplers::take_window(fields, &mut sampling)?;
    samplers::take_absent(fields)?;
    Ok((sampling, repeats))
}

/// `response_fields`: names, of what lies within another behind that and a slash.
fn response_fields(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "response_fields";
    let path = fields.path(NAME);
    let paths = fields.list(NAME, RESPONSE_FIELDS_MAX, "an array of strings")?.unwrap_or_default();
    let text = |(index, node)| match node {
        Node::Text(text) => Ok(text),
        _ => Err(ApiError::invalid_type(format!("{path}[{index}]"), "a string")),
    };
    paths.into_iter().enumerate().map(text).collect()
}

/// `n_predict`, or as OpenAI has it `max_tokens`; -1 is no bound.
fn tokens_max(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let asked: Option<i64> =
        one_of(fields, ["n_predict", "max_tokens"], |fields, name| fields.integer(name, -1..=i128::from(TOKENS_MAX)))?;
    Ok(asked.and_then(|tokens| usize::try_from(tokens).ok()))
}

/// A field of two names, of which one is given or both say the same.
fn one_of<T: PartialEq>(
    fields: &mut Fields,
    [name, other]: [&str; 2],
    take: impl Fn(&mut Fields, &str) -> Result<Option<T>, ApiError>,
) -> Result<Option<T>, ApiError> {
    match (take(fields, name)?, take(fields, other)?) {
        (Some(one), Some(two)) if one != two => {
            Err(ApiError::invalid_value(fields.path(other), format_args!("contradicts `{name}`")))
        }
        (one, two) => Ok(one.or(two)),
    }
}

/// `logit_bias` as a list of pairs: a token's id, and a number or `false` for never. As an object it is left for the
/// taker of OpenAI's.
fn listed_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let path = fields.path(NAME);
    let Some(list) = fields.take_if(NAME, |node| matches!(node, Node::List(_) | Node::Ids(_))) else {
        return Ok(Vec::new());
    };
    let Node::List(items) = list else { return Err(ApiError::invalid_type(path, "an array of pairs")) };
    if items.len() > LOGIT_BIAS_MAX {
        return Err(ApiError::invalid_value(path, format_args!("has more than {LOGIT_BIAS_MAX} entries")));
    }
    let mut biases = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| pair(item, &format!("{path}[{index}]")))
        .collect::<Result<Vec<_>, _>>()?;
    biases.sort_unstable_by_key(|(id, _)| *id);
    if biases.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(ApiError::invalid_value(path, "names a token twice"));
    }
    Ok(biases)
}

fn pair(item: Node, path: &str) -> Result<(u32, f32), ApiError> {
    const EXPECTED: &str = "a pair of a token's id and a number, or false";
    let (id, value) = match item {
        // Two whole numbers are read as ids.
        Node::Ids(pair) => match pair[..] {
            [id, value] => (id, Node::Integer(value.into())),
            _ => return Err(ApiError::invalid_type(path, EXPECTED)),
        },
        Node::List(pair) => match <[Node; 2]>::try_from(pair) {
            Ok([id, value]) => {
                // A text would be a bias for each of its tokens.
                let id = id.whole().ok_or_else(|| ApiError::invalid_type(path, EXPECTED))?;
                (u32::try_from(id).map_err(|_| ApiError::invalid_value(path, "names no token"))?, value)
            }
            Err(_) => return Err(ApiError::invalid_type(path, EXPECTED)),
        },
        _ => return Err(ApiError::invalid_type(path, EXPECTED)),
    };
    if value == Node::Bool(false) {
        return Ok((id, NEVER));
    }
    Ok((id, bias(&value, path)?))
}

/// `json_schema` or `grammar`, which is in GBNF.
fn held(fields: &mut Fields) -> Result<Option<Constraint>, ApiError> {
    let schema = constraint::schema_or_any(fields, "json_schema")?;
    let grammar = constraint::gbnf(fields, "grammar")?;
    match (schema, grammar) {
        (Some(_), Some(Constraint { param, .. })) => {
            Err(ApiError::invalid_value(param, "an answer keeps to `json_schema` already"))
        }
        (schema, grammar) => Ok(schema.or(grammar)),
    }
}

/// Numbers that mean nothing here.
pub(crate) const HARMLESS: [&str; 5] = ["n_keep", "n_cache_reuse", "id_slot", "sse_ping_interval", "n_discard"];
/// What is not done here, and empty asks for nothing.
pub(crate) const EMPTY: [&str; 2] = ["lora", "images"];
/// What is not done here, and 0 asks for nothing.
pub(crate) const ZERO: [&str; 3] = ["n_indent", "min_keep", "t_max_predict_ms"];
/// What is not done here.
pub(crate) const OFF: [&str; 3] = ["timings_per_token", "return_progress", "post_sampling_probs"];

/// Takes what changes no answer.
fn take_harmless(fields: &mut Fields) -> Result<(), ApiError> {
    // What was computed before is always used, and nothing of a prompt is ever dropped to make room.
    fields.flag("cache_prompt")?;
    for name in HARMLESS {
        fields.integer::<i64>(name, i128::from(i32::MIN)..=i128::from(i32::MAX))?;
    }
    Ok(())
}

/// What llama.cpp does and this server does not do here, in the forms that ask for nothing.
fn take_unsupported(fields: &mut Fields, sampling: &Sampling) -> Result<(), ApiError> {
    for empty in EMPTY {
        fields.only_empty(empty)?;
    }
    for number in ZERO {
        fields.only_number(number, 0)?;
    }
    fields.only_number("top_n_sigma", -1)?;
    let usual = if samplers::is_penalized(sampling) { &USUAL_ORDER[..] } else { &USUAL_ORDER[1..] };
    fields.only("samplers", |node| matches!(node, Node::List(names) if is_order(names, usual)))?;
    for flag in OFF {
        fields.only_off(flag)?;
    }
    Ok(())
}

/// llama.cpp's own order of the samplers that are here.
const USUAL_ORDER: [&str; 5] = ["penalties", "top_k", "top_p", "min_p", "temperature"];

/// Whether samplers are named in the `usual` order, in which those that are switched off may stand.
fn is_order(names: &[Node], usual: &[&str]) -> bool {
    const OFF: [&str; 6] = ["penalties", "dry", "top_n_sigma", "typ_p", "typical_p", "xtc"];
    let texts: Option<Vec<&str>> = names
        .iter()
        .map(|name| match name {
            Node::Text(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let is_off = |name: &&str| OFF.contains(name) && !usual.contains(name);
    texts.is_some_and(|texts| texts.into_iter().filter(|name| !is_off(name)).eq(usual.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::each_refused;

    const MINIMUM: &str = r#""model":"m","prompt":"a""#;

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        let table = [
            (r#""n_predict":-2"#, "invalid_value", "n_predict"),
            (r#""n_predict":1,"max_tokens":2"#, "invalid_value", "max_tokens"),
            (r#""grammar":5"#, "invalid_type", "grammar"),
            (r#""grammar":"root ::= \"a\"","json_schema":{}"#, "invalid_value", "grammar"),
            (r#""json_schema":[]"#, "invalid_type", "json_schema"),
            (r#""top_n_sigma":1"#, "unsupported_parameter", "top_n_sigma"),
            (r#""n_indent":2"#, "unsupported_parameter", "n_indent"),
            (r#""t_max_predict_ms":100"#, "unsupported_parameter", "t_max_predict_ms"),
            (r#""post_sampling_probs":true"#, "unsupported_parameter", "post_sampling_probs"),
            (r#""response_fields":"content""#, "invalid_type", "response_fields"),
            (r#""response_fields":[1]"#, "invalid_type", "response_fields"),
            (r#""response_fields":["a",1]"#, "invalid_type", "response_fields[1]"),
            (r#""samplers":["top_k"]"#, "unsupported_parameter", "samplers"),
            (
                r#""repeat_penalty":1.3,"samplers":["top_k","top_p","min_p","temperature"]"#,
                "unsupported_parameter",
                "samplers",
            ),
            (r#""samplers":["temperature","top_k","top_p","min_p"]"#, "unsupported_parameter", "samplers"),
            (r#""dynatemp_range":0.5"#, "unsupported_parameter", "dynatemp_range"),
            (r#""min_keep":1"#, "unsupported_parameter", "min_keep"),
            (r#""timings_per_token":true"#, "unsupported_parameter", "timings_per_token"),
            (r#""lora":[{"id":0}]"#, "unsupported_parameter", "lora"),
            (r#""repeat_penalty":1.1,"repeat_last_n":-2"#, "invalid_value", "repeat_last_n"),
            (r#""logit_bias":[1,2]"#, "invalid_type", "logit_bias"),
            (r#""logit_bias":[["text",1]]"#, "invalid_type", "logit_bias[0]"),
            (r#""logit_bias":[[1,true]]"#, "invalid_type", "logit_bias[0]"),
            (r#""logit_bias":[[1,101]]"#, "invalid_value", "logit_bias[0]"),
            (r#""logit_bias":[[1,1],[1,2]]"#, "invalid_value", "logit_bias"),
            (r#""n_probs":21"#, "invalid_value", "n_probs"),
            (r#""echo":true"#, "unsupported_parameter", "echo"),
        ];
        each_refused(CompletionRequest::parse, MINIMUM, &table);
        let table = [
            (r#""messages":[]"#, "invalid_value", "messages"),
            (r#""tools":[{}]"#, "missing_required_parameter", "messages"),
        ];
        each_refused(TemplateRequest::parse, r#""model":"m""#, &table);
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_is_llama_cpp_s() {
        let request = CompletionRequest::parse(
            br#"{"model":"m","prompt":["a",[1,2]],"n_predict":7,"seed":-1,"logit_bias":[[5,false],[3,-1.5],[4,2]],
                "n_probs":3,"cache_prompt":true,"id_slot":-1,"mirostat":0,"grammar":"","n_cmpl":2}"#,
        )
        .expect("all of it is supported");
        let CompletionRequest { common, prompts, tokens, probabilities, .. } = request;
        assert_eq!((prompts.len(), common.choices, common.tokens_max, common.logprobs), (2, 2, Some(7), Some(3)));
        assert_eq!(common.sampling.logit_bias, [(3, -1.5), (4, 2.0), (5, NEVER)]);
        assert_eq!((tokens, probabilities), (ShownTokens::No, ShownProbabilities::Yes));
        let Sampling { temperature, top_k, top_p, min_p, .. } = common.sampling;
        assert_eq!((temperature, top_k, top_p, min_p), (0.8, 40, 0.95, 0.05));
        let streamed = format!("{{{MINIMUM},\"stream\":true,\"n_predict\":-1,\"logit_bias\":{{\"1\":1}}}}");
        let CompletionRequest { common, tokens, .. } =
            CompletionRequest::parse(streamed.as_bytes()).expect("supported");
        assert_eq!((tokens, common.tokens_max, common.logprobs), (ShownTokens::Yes, None, Some(0)));
        assert_eq!(common.sampling.logit_bias, [(1, 1.0)]);
    }

    #[test]
    fn every_field_may_be_there_as_it_is_where_nothing_is_said() {
        // Those of llama.cpp's `/props`, and of the README of its server.
        let defaults = r#""n_predict":-1,"seed":4294967295,"temperature":0.8,"dynatemp_range":0.0,"dynatemp_exponent":1.0,
            "top_k":40,"top_p":0.95,"min_p":0.05,"top_n_sigma":-1.0,"xtc_probability":0.0,"xtc_threshold":0.1,
            "typical_p":1.0,"repeat_last_n":64,"repeat_penalty":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,
            "dry_multiplier":0.0,"dry_base":1.75,"dry_allowed_length":2,"dry_penalty_last_n":64,
            "dry_sequence_breakers":["\n",":","\"","*"],"mirostat":0,"mirostat_tau":5.0,"mirostat_eta":0.1,"stop":[],
            "max_tokens":-1,"n_keep":0,"n_discard":0,"ignore_eos":false,"stream":false,"n_probs":0,"min_keep":0,"grammar":"",
            "samplers":["penalties","dry","top_n_sigma","top_k","typ_p","top_p","min_p","xtc","temperature"],
            "timings_per_token":false,"post_sampling_probs":false,"lora":[],"n_indent":0,"n_cmpl":1,"n_cache_reuse":0,
            "json_schema":null,"logit_bias":[],"t_max_predict_ms":0,"id_slot":-1,"cache_prompt":true,"return_tokens":false,
            "return_progress":false,"sse_ping_interval":-1,"response_fields":[]"#;
        let body = format!("{{{MINIMUM},{defaults}}}");
        let request = CompletionRequest::parse(body.as_bytes()).expect("nothing is asked for");
        assert_eq!((request.common.tokens_max, request.common.constraint), (None, None));
        assert_eq!(request.common.repeats, sampling::Repeats::No, "such a seed is none");
    }

    #[test]
    fn a_schema_that_says_nothing_is_any_json() {
        let schema = |schema: &str| {
            let body = format!(r#"{{{MINIMUM},"json_schema":{schema}}}"#);
            let constraint = CompletionRequest::parse(body.as_bytes()).expect(schema).common.constraint;
            constraint.map(|constraint| (constraint.source.canonical().1, constraint.param)).expect("a constraint")
        };
        let named = "json_schema".to_owned();
        assert_eq!(schema(r#"{"type":"integer"}"#), (r#"{"type":"integer"}"#.to_owned(), named.clone()));
        let any = r#"{"type":["object","array","string","number","boolean","null"]}"#.to_owned();
        assert_eq!(schema("{}"), (any, named));
    }
}
