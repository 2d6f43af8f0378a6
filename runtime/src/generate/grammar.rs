//! What an answer has to keep to, compiled before its model is loaded: a schema that is wrong loads nothing.

use std::sync::Arc;

use models::Descriptor;
use models::generation::End;
use models::grammar::{CallNumber, Calls, GrammarSource, Instead, Opening};
use models::reading::CallFormat;
use models::template::Tool;
use scheduler::Instant;

use super::{Asked, Prompt, check_is_decoder, conversation_error};
use crate::app::App;
use crate::grammars::{Compiled, Uncompiled};
use crate::http::error::ApiError;
use crate::http::wire::{ChatOptions, Constraint, ToolChoice};
use crate::limits::REQUEST_MAX;

/// The grammar of a request that has one.
pub(super) async fn compiled(
    app: &Arc<App>,
    asked: &Asked,
    arrived: std::time::Instant,
) -> Result<Option<Compiled>, ApiError> {
    let options = match &asked.prompt {
        Prompt::Messages(_, options) if **options != ChatOptions::default() => Some(options),
        Prompt::Messages(..) | Prompt::Raw(..) => None,
    };
    if asked.common.constraint.is_none() && options.is_none() {
        return Ok(None);
    }
    let deadline = Instant::from_std(arrived) + asked.urgency.timeout.unwrap_or(REQUEST_MAX);
    let access = &asked.asker.access;
    let model = app.true_name(access, &asked.common.model, deadline).await?;
    let descriptor = app.descriptor(&model).await?;
    check_is_decoder(&descriptor)?;
    if let (Some(options), Some(template)) = (options, &descriptor.template) {
        // What its template does not know is refused before it is loaded, too.
        options.extras_for(template)?;
    }
    let Some(constraint) = constraint(asked, &descriptor)? else { return Ok(None) };
    let constraint = behind_thoughts(constraint, asked, &descriptor).await?;
    if asked.common.end == End::Ignored {
        let why = format_args!("an answer that keeps to `{}` ends where that does", constraint.param);
        return Err(ApiError::invalid_value("ignore_eos", why));
    }
    if asked.common.ending.tokens_min > 0 {
        return Err(ApiError::invalid_value("min_tokens", "is for answers that keep to nothing"));
    }
    let compiling = app.grammars.compiled(&access.tenant, &descriptor, &constraint.source);
    let compiled = tokio::time::timeout_at(deadline, compiling).await.map_err(|_| ApiError::deadline_passed())?;
    compiled.map(Some).map_err(|error| refusal(&constraint.param, error))
}

/// The same behind the thoughts that an answer begins with where the model's template has them.
async fn behind_thoughts(
    constraint: Constraint,
    asked: &Asked,
    descriptor: &Arc<Descriptor>,
) -> Result<Constraint, ApiError> {
    let Prompt::Messages(_, options) = &asked.prompt else { return Ok(constraint) };
    let (options, descriptor) = (options.clone(), Arc::clone(descriptor));
    // A template takes its time.
    let opening = tokio::task::spawn_blocking(move || {
        let Some(template) = &descriptor.template else { return Ok::<_, ApiError>(None) };
        let extras = options.extras_for(template)?;
        let thoughts = template.thoughts(&extras).map_err(|error| conversation_error(error, (&options, &extras)))?;
        Ok(Opening::of(thoughts))
    });
    let Constraint { source, param } = constraint;
    let source = match opening.await.map_err(ApiError::internal)?? {
        Some(opening) => source.behind(opening),
        None => source,
    };
    Ok(Constraint { source, param })
}

fn refusal(param: &str, error: Uncompiled) -> ApiError {
    match error {
        Uncompiled::Grammar(error) if error.is_of_the_model() => ApiError::internal(error),
        Uncompiled::Grammar(_) | Uncompiled::TooSlow => ApiError::invalid_schema(param, error),
        Uncompiled::Busy => ApiError::overloaded(scheduler::limits::RETRY_AFTER_MIN),
        Uncompiled::Thread(_) => ApiError::internal(error),
    }
}

/// What the answers of a request keep to, and the field that says so. Calls are written as the model's template has them.
fn constraint(asked: &Asked, descriptor: &Descriptor) -> Result<Option<Constraint>, ApiError> {
    let wanted = asked.common.constraint.clone();
    let (Prompt::Messages(_, options), Some(template)) = (&asked.prompt, &descriptor.template) else {
        return Ok(wanted);
    };
    let is_strict = |tool: &Tool| options.strict.contains(&tool.name);
    let tools = &options.extras.tools;
    let (functions, number, instead) = match (&options.choice, wanted) {
        (ToolChoice::Auto, wanted) if tools.is_empty() => return Ok(wanted),
        (ToolChoice::Auto, None) if options.number == CallNumber::Several && !tools.iter().any(is_strict) => {
            return Ok(None);
        }
        (ToolChoice::Auto, wanted) => {
            // Who does not ask for it gets any arguments.
            let loose =
                |tool: &Tool| Tool { parameters: tool.parameters.clone().filter(|_| is_strict(tool)), ..tool.clone() };
            let instead = match wanted {
                None => Instead::Text,
                Some(Constraint { source: GrammarSource::JsonSchema(schema), .. }) => Instead::Json(schema),
                Some(Constraint { param, .. }) => {
                    return Err(ApiError::invalid_value(
                        param,
                        "is not supported where functions may be called instead",
                    ));
                }
            };
            (tools.iter().map(loose).collect(), options.number, instead)
        }
        (ToolChoice::Required | ToolChoice::Named(_), Some(Constraint { source, param }))
            if !matches!(source, GrammarSource::JsonSchema(_)) =>
        {
            return Err(ApiError::invalid_value(param, "is not supported where a function has to be called"));
        }
        (ToolChoice::Required, _) => (tools.clone(), options.number, Instead::Nothing),
        (ToolChoice::Named(name), _) => {
            let named = tools.iter().filter(|tool| tool.name == *name).cloned().collect();
            (named, CallNumber::One, Instead::Nothing)
        }
    };
    let calls = Calls { format: CallFormat::of(template), functions, number, instead };
    Ok(Some(Constraint { source: GrammarSource::Calls(Box::new(calls)), param: "tools".to_owned() }))
}
