//! The events that make a response's output.
//!
//! An item begins with its first part: thoughts and messages come piece by piece, a call whole. Scores are of the answer's
//! tokens, whatever they mean, and stand with the message; where there is none they are not told.

use serde_json::{Value, json};

use super::items::{Item, ItemStatus};
use super::tools::Namespaces;
use crate::http::stream::push_named_event;
use crate::http::wire::answer::Part;

/// The events of one output, as far as it was streamed.
pub(super) struct Events {
    response_id: String,
    /// Of what may be called.
    namespaces: Namespaces,
    /// Events so far.
    sequence: u64,
    /// Items that have ended.
    ended: Vec<Value>,
    /// The one that goes on.
    open: Option<Item>,
    /// Scores that no event has told yet.
    untold: Vec<Value>,
}

impl Events {
    pub(super) fn new(response_id: &str, namespaces: Namespaces) -> Self {
        let response_id = response_id.to_owned();
        Self { response_id, namespaces, sequence: 0, ended: Vec::new(), open: None, untold: Vec::new() }
    }

    /// Adds an event, with its number and what it is about.
    pub(super) fn push(&mut self, text: &mut String, kind: &str, mut event: Value) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        push_named_event(text, kind, &event.to_string());
    }

    /// Adds the events of a piece: the parts that it shows, and the scores of its tokens.
    pub(super) fn piece(&mut self, text: &mut String, parts: Vec<Part>, scores: Vec<Value>) {
        self.untold.extend(scores);
        for part in parts {
            match part {
                Part::Call(_) => self.call(text, Item::of(part, &self.namespaces)),
                Part::Thought(thought) => self.go_on(text, Item::Reasoning(String::new()), &thought),
                Part::Text(said) => self.go_on(text, Item::Message(String::new(), Vec::new()), &said),
            }
        }
        if !self.untold.is_empty() && matches!(self.open, Some(Item::Message(..))) {
            self.go_on(text, Item::Message(String::new(), Vec::new()), "");
        }
    }

    /// Ends the output: the last item has this status. An output without any gets an empty message.
    pub(super) fn end(&mut self, text: &mut String, status: ItemStatus) -> Value {
        if self.ended.is_empty() && self.open.is_none() {
            self.begin(text, Item::Message(String::new(), Vec::new()));
        }
        self.close(text, status);
        Value::Array(std::mem::take(&mut self.ended))
    }

    /// Adds `more` to the item that goes on if it is of the kind of `item`, or else to that, which begins then.
    fn go_on(&mut self, text: &mut String, item: Item, more: &str) {
        let is_same = |open: &Item| std::mem::discriminant(open) == std::mem::discriminant(&item);
        if !self.open.as_ref().is_some_and(is_same) {
            self.close(text, ItemStatus::Completed);
            self.begin(text, item);
        }
        match &mut self.open {
            Some(Item::Reasoning(thought)) => {
                thought.push_str(more);
                let delta = self.about_part(json!({ "delta": more }));
                self.push(text, "response.reasoning_text.delta", delta);
            }
            Some(Item::Message(said, scores)) => {
                let new = std::mem::take(&mut self.untold);
                said.push_str(more);
                scores.extend(new.iter().cloned());
                let delta = self.about_part(json!({ "delta": more, "logprobs": new }));
                self.push(text, "response.output_text.delta", delta);
            }
            Some(Item::Call(..)) | None => unreachable!("it was begun, and calls do not go on"),
        }
    }

    fn begin(&mut self, text: &mut String, item: Item) {
        let told = item.told(&item.id(&self.response_id, self.ended.len()), ItemStatus::InProgress);
        let part = item.part();
        self.open = Some(item);
        let added = json!({ "output_index": self.ended.len(), "item": told });
        self.push(text, "response.output_item.added", added);
        if !part.is_null() {
            let added = self.about_part(json!({ "part": part }));
            self.push(text, "response.content_part.added", added);
        }
    }

    fn call(&mut self, text: &mut String, item: Item) {
        let Item::Call(called, _) = &item else { unreachable!("what is called is a call") };
        let (name, arguments) = (called.call.name.clone(), called.call.arguments.clone());
        self.close(text, ItemStatus::Completed);
        self.begin(text, item);
        let delta = self.about(json!({ "delta": arguments }));
        self.push(text, "response.function_call_arguments.delta", delta);
        let done = self.about(json!({ "name": name, "arguments": arguments }));
        self.push(text, "response.function_call_arguments.done", done);
        self.close(text, ItemStatus::Completed);
    }

    /// Ends the item that goes on.
    fn close(&mut self, text: &mut String, status: ItemStatus) {
        let Some(item) = self.open.clone() else { return };
        let done = match &item {
            Item::Reasoning(thought) => Some(("response.reasoning_text.done", json!({ "text": thought }))),
            Item::Message(said, scores) => {
                Some(("response.output_text.done", json!({ "text": said, "logprobs": scores })))
            }
            Item::Call(..) => None,
        };
        if let Some((kind, done)) = done {
            let done = self.about_part(done);
            self.push(text, kind, done);
            let done = self.about_part(json!({ "part": item.part() }));
            self.push(text, "response.content_part.done", done);
        }
        let number = self.ended.len();
        let told = item.told(&item.id(&self.response_id, number), status);
        self.push(text, "response.output_item.done", json!({ "output_index": number, "item": told }));
        self.ended.push(told);
        self.open = None;
    }

    /// An event about the item that goes on, beside what `of_it` says.
    fn about(&self, mut of_it: Value) -> Value {
        of_it["item_id"] = json!(self.open.as_ref().map(|item| item.id(&self.response_id, self.ended.len())));
        of_it["output_index"] = json!(self.ended.len());
        of_it
    }

    /// An event about that item's part.
    fn about_part(&self, of_it: Value) -> Value {
        let mut of_it = self.about(of_it);
        of_it["content_index"] = json!(0);
        of_it
    }
}

#[cfg(test)]
mod tests {
    use models::reading::Call;

    use super::*;
    use crate::http::wire::answer::ShownCall;

    fn kinds(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("event: response.")).collect()
    }

    #[test]
    fn items_begin_and_end_as_what_is_said_changes() {
        let mut events = Events::new("resp_1", Namespaces::default());
        let call = Call { name: "get".to_owned(), arguments: "{}".to_owned() };
        let call = Part::Call(ShownCall { index: 0, id: "call_1".to_owned(), call });
        let mut text = String::new();
        let thoughts = ["h", "m"].map(|thought| Part::Thought(thought.to_owned()));
        events.piece(&mut text, thoughts.into(), vec![json!(1)]);
        events.piece(&mut text, vec![Part::Text("a".to_owned()), call, Part::Text("b".to_owned())], vec![json!(2)]);
        let begun = ["output_item.added", "content_part.added"];
        let said = ["output_text.delta", "output_text.done", "content_part.done", "output_item.done"];
        let expected = [
            &begun[..],
            &["reasoning_text.delta"; 2],
            &["reasoning_text.done", "content_part.done", "output_item.done"],
            &begun,
            &said,
            &["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"],
            &begun,
            &said[..1],
        ];
        assert_eq!(kinds(&text), expected.concat());
        let mut end = String::new();
        let output = events.end(&mut end, ItemStatus::Incomplete);
        assert_eq!(kinds(&end), said[1..]);
        let told =
            |name: &str| output.as_array().expect("items").iter().map(|item| item[name].clone()).collect::<Vec<_>>();
        assert_eq!(told("id"), ["rs_1_0", "msg_1_1", "fc_1_2", "msg_1_3"]);
        assert_eq!(told("status"), ["completed", "completed", "completed", "incomplete"]);
        assert_eq!(output[0]["content"][0]["text"], "hm");
        assert_eq!(output[1]["content"][0]["logprobs"], json!([1, 2]), "whatever the tokens were");
    }

    #[test]
    fn an_output_without_anything_is_an_empty_message() {
        let mut text = String::new();
        let output = Events::new("resp_1", Namespaces::default()).end(&mut text, ItemStatus::Completed);
        assert_eq!((output.as_array().map(Vec::len), &output[0]["content"][0]["text"]), (Some(1), &json!("")));
        assert_eq!(kinds(&text).first(), Some(&"output_item.added"));
    }
}
