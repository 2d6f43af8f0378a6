//! Contexts in order: by id, by name, and by the tokens that prompts begin with.
//!
//! In the order of their tokens, those that have most in common with a prompt stand next to the place where the prompt
//! would: two looks find the longest, whatever their number. Deliberately absent: files, and time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use models::contexts::ContextKey;

use super::Context;

/// Where a context stands among those of its model.
type Place = (ContextKey, Arc<[u32]>, Arc<str>);

#[derive(Default)]
pub(super) struct Shelf {
    by_id: BTreeMap<Arc<str>, Arc<Context>>,
    /// By model and name.
    by_name: BTreeMap<(String, String), Arc<str>>,
    by_tokens: BTreeMap<Place, Arc<Context>>,
    bytes: u64,
    /// Of contexts that are being computed.
    pub(super) planned_bytes: u64,
    pub(super) planned: usize,
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Of all files.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn list(&self) -> Vec<Arc<Context>> {
        self.by_id.values().cloned().collect()
    }

    pub(super) fn called(&self, name: &str) -> Vec<Arc<Context>> {
        if let Some(context) = self.by_id.get(name) {
            return vec![Arc::clone(context)];
        }
        self.by_id.values().filter(|context| context.record.about.name == name).cloned().collect()
    }

    pub(super) fn named(&self, model: &str, name: &str) -> Option<Arc<Context>> {
        let id = self.by_name.get(&(model.to_owned(), name.to_owned()))?;
        self.by_id.get(id).cloned()
    }

    /// Adds a context, and takes out the one of the same name.
    pub(super) fn put(&mut self, context: Arc<Context>) -> Option<Arc<Context>> {
        let about = &context.record.about;
        let name = (about.model.clone(), about.name.clone());
        let replaced = self.by_name.get(&name).cloned().and_then(|id| self.take(&id));
        let id: Arc<str> = about.id.as_str().into();
        self.bytes += context.record.file_bytes;
        self.by_name.insert(name, Arc::clone(&id));
        self.by_tokens.insert(place(&context, &id), Arc::clone(&context));
        self.by_id.insert(id, context);
        replaced
    }

    pub(super) fn take(&mut self, id: &str) -> Option<Arc<Context>> {
        let (id, context) = self.by_id.remove_entry(id)?;
        let about = &context.record.about;
        self.by_name.remove(&(about.model.clone(), about.name.clone()));
        self.by_tokens.remove(&place(&context, &id));
        self.bytes -= context.record.file_bytes;
        Some(context)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The context of `key` that covers most of `tokens`, and at least a block of them.
    pub(super) fn longest(&self, key: &ContextKey, tokens: &[u32]) -> Option<Arc<Context>> {
        if self.by_tokens.is_empty() {
            return None;
        }
        let place: Place = (*key, tokens.into(), "".into());
        let before = self.by_tokens.range((Bound::Unbounded, Bound::Excluded(&place))).next_back();
        let after = self.by_tokens.range((Bound::Included(&place), Bound::Unbounded)).next();
        let of_key = [before, after].into_iter().flatten().filter(|((found, ..), _)| found == key);
        let covering = of_key.map(|(_, context)| (context.covers(tokens), context));
        let (_, context) = covering.filter(|(blocks, _)| *blocks > 0).max_by_key(|(blocks, _)| *blocks)?;
        Some(Arc::clone(context))
    }
}

fn place(context: &Context, id: &Arc<str>) -> Place {
    (context.record.about.key, Arc::clone(&context.record.tokens), Arc::clone(id))
}

#[cfg(test)]
mod tests;
