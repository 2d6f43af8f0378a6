//! What is done anyway, as clients of vLLM and llama.cpp say it.

use super::form::{Member, always, flag, maybe, text_of, whole};
use super::generation::empty;
use super::sampling::switched_off;
use crate::http::wire::restated::{BACKEND, EITHER, EMPTY, NEVER, SWITCHED_OFF};
use crate::limits::USER_BYTES_MAX;

/// Members of chats and completions.
pub(super) fn members() -> Vec<Member> {
    let mut members = vec![maybe(BACKEND, text_of("Means nothing here.", 0..=USER_BYTES_MAX))];
    members.extend(EITHER.map(|name| maybe(name, flag("Means nothing here."))));
    members.extend(SWITCHED_OFF.map(|(name, off)| maybe(name, whole("Not here: off.", off.into()..=off.into()))));
    members.extend(NEVER.map(|name| maybe(name, always("Not supported.", false))));
    members.extend(EMPTY.map(|name| maybe(name, empty())));
    members.extend(switched_off());
    members
}
