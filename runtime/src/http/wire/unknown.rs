//! Fields that nobody took, where the operator lets those that mean nothing here pass.
//!
//! Bodies are read in one go within a request's task, so what passes is noted there ([`noting`]) and every reader ends in
//! [`Fields::finish`](super::Fields::finish) as ever. Without a note being kept nothing passes.
//!
//! Invariants: a name that means something to any of the interfaces served here, or to the servers whose words they are, is
//! refused wherever it is not honoured: it would change an answer ([`KNOWN`]). Names are noted and never values, so many and
//! so much of each.

use std::cell::RefCell;

use tokio::task::futures::TaskLocalFuture;

use crate::limits::{PASSED_FIELD_CHARS_MAX, PASSED_FIELDS_MAX};

mod known;

use known::KNOWN;

tokio::task_local! {
    static PASSED: RefCell<Passed>;
}

/// The names of fields that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    names: Vec<String>,
    /// How many there are beside those.
    more: usize,
}

impl Passed {
    fn note(&mut self, path: &str) {
        if self.names.len() == PASSED_FIELDS_MAX {
            self.more += 1;
            return;
        }
        let sayable = |one: char| if one.is_ascii_graphic() && one != ',' { one } else { '?' };
        self.names.push(path.chars().take(PASSED_FIELD_CHARS_MAX).map(sayable).collect());
    }

    /// All of them on one line of visible characters; none where nothing passed.
    pub(crate) fn told(&self) -> Option<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        let told: Vec<&str> = self.names.iter().map(String::as_str).chain(more.as_deref()).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// Does `work` and lets unknown fields of the bodies that it reads pass.
pub(crate) fn noting<F: Future>(work: F) -> TaskLocalFuture<RefCell<Passed>, F> {
    PASSED.scope(RefCell::default(), work)
}

/// What has passed within [`noting`] until now.
pub(crate) fn passed() -> Passed {
    PASSED.try_with(|passed| passed.borrow().clone()).unwrap_or_default()
}

/// Whether a field of this `name` means something to any of the interfaces, so that it never passes.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.binary_search(&name).is_ok()
}

/// Whether a field of this `name`, which stands at `path`, may go unread; it is noted then.
pub(super) fn may_pass(name: &str, path: &str) -> bool {
    let note = |passed: &RefCell<Passed>| passed.borrow_mut().note(path);
    !is_known(name) && PASSED.try_with(note).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::refusal::refused;
    use crate::http::wire::{ChatRequest, TokenizeRequest};

    #[test]
    fn what_is_known_is_in_order() {
        assert!(KNOWN.is_sorted_by(|one, next| one < next), "each once, for the search");
    }

    #[tokio::test]
    async fn what_means_nothing_passes_and_is_named_and_what_is_known_is_refused() {
        let body = br#"{"model":"m","content":"a","x-trace":1,"what, is this\n":[{"deep":"secret"}],"mood":null}"#;
        assert_eq!(refused(TokenizeRequest::parse(body)), ("unsupported_parameter", Some("x-trace".to_owned())));
        let (read, told) = noting(async { (TokenizeRequest::parse(body).is_ok(), passed().told()) }).await;
        assert_eq!((read, told.as_deref()), (true, Some("x-trace, what??is?this?")));
        let chat = |fields: &str| {
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a","mood":"good"}}],{fields}}}"#)
        };
        noting(async {
            assert!(ChatRequest::parse(chat(r#""n":1"#).as_bytes()).is_ok());
            assert_eq!(passed().told().as_deref(), Some("messages[0].mood"));
            for (fields, param) in [
                (r#""best_of":2"#, "best_of"),
                (
                    r#""stream":true,"stream_options":{"include_obfuscation":true}"#,
                    "stream_options.include_obfuscation",
                ),
                (r#""previous_response_id":"x""#, "previous_response_id"),
                (r#""num_ctx":5"#, "num_ctx"),
            ] {
                let refusal = refused(ChatRequest::parse(chat(fields).as_bytes()));
                assert_eq!(refusal, ("unsupported_parameter", Some(param.to_owned())), "{fields}");
            }
        })
        .await;
        assert_eq!(passed(), Passed::default(), "nothing is noted outside");
    }

    #[test]
    fn only_so_much_is_told() {
        let mut passed = Passed::default();
        for _ in 0..PASSED_FIELDS_MAX + 2 {
            passed.note(&"é".repeat(PASSED_FIELD_CHARS_MAX + 1));
        }
        let told = passed.told().unwrap();
        assert!(told.ends_with(", and 2 more"), "{told}");
        assert_eq!(told.matches('?').count(), PASSED_FIELDS_MAX * PASSED_FIELD_CHARS_MAX);
    }
}
