//! Texts and token ids, one or several, as `prompt` and `input` have them.

use super::Fields;
use super::json::Node;
use crate::http::error::ApiError;
use crate::limits::TOKEN_BYTES_ASSUMED;

/// A text as the client sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PromptInput {
    /// Text, possibly empty.
    Text(String),
    /// Token ids, at least one, used as they are.
    Ids(Vec<u32>),
}

impl PromptInput {
    /// About how many tokens it has, before its model is known.
    pub(crate) fn tokens_estimated(&self) -> u64 {
        match self {
            Self::Text(text) => text.len().div_ceil(TOKEN_BYTES_ASSUMED) as u64,
            Self::Ids(ids) => ids.len() as u64,
        }
    }
}

/// Takes a field that is a text, a list of ids, or a list of at most `items_max` of either; at least one.
pub(crate) fn take(fields: &mut Fields, name: &str, items_max: usize) -> Result<Vec<PromptInput>, ApiError> {
    const EXPECTED: &str = "a string, an array of token ids, or an array of either";
    let path = fields.path(name);
    let items = match fields.take(name).map(Node::with_ids) {
        None => return Err(ApiError::missing_field(path)),
        Some(Node::Text(text)) => return Ok(vec![PromptInput::Text(text)]),
        Some(Node::Ids(ids)) => return Ok(vec![PromptInput::Ids(ids)]),
        Some(Node::List(items)) => items,
        Some(_) => return Err(ApiError::invalid_type(path, EXPECTED)),
    };
    if items.is_empty() {
        return Err(ApiError::invalid_value(path, "is empty"));
    }
    if items.len() > items_max && !items.iter().any(is_number) {
        return Err(ApiError::invalid_value(path, format_args!("has more than {items_max} entries")));
    }
    items.into_iter().enumerate().map(|(index, item)| input(item, format!("{path}[{index}]"))).collect()
}

/// Where input `index` of `count` stands: one that stands alone was no list, or is all of it.
pub(crate) fn path(name: &str, index: usize, count: usize) -> String {
    if count == 1 { name.to_owned() } else { format!("{name}[{index}]") }
}

fn is_number(node: &Node) -> bool {
    matches!(node, Node::Integer(_) | Node::Float(_))
}

fn input(item: Node, path: String) -> Result<PromptInput, ApiError> {
    match item.with_ids() {
        Node::Text(text) => Ok(PromptInput::Text(text)),
        Node::Ids(ids) => Ok(PromptInput::Ids(ids)),
        Node::List(items) if items.is_empty() => Err(ApiError::invalid_value(path, "is empty")),
        Node::Integer(id) if u32::try_from(id).is_err() => Err(ApiError::invalid_value(path, "is no token id")),
        Node::List(_) => Err(ApiError::invalid_type(path, "an array of token ids")),
        _ => Err(ApiError::invalid_type(path, "a string or an array of token ids")),
    }
}
