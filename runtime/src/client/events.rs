//! Server-sent events, as far as an answer's stream uses them: `data:` lines, each one JSON value or `[DONE]`.

use serde_json::Value;

use super::ClientError;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 16 << 20;

/// One event.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// A value.
    Data(Value),
    /// The stream is complete.
    Done,
}

/// Puts events together from the pieces that arrive.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Events {
    /// The events that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() > LINE_BYTES_MAX {
                return Err(ClientError::Answer("a line is too long"));
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                events.extend(event(self.line.trim_ascii())?);
                self.line.clear();
            }
        }
        Ok(events)
    }
}

/// Comments, other fields and empty lines are none.
fn event(line: &[u8]) -> Result<Option<Event>, ClientError> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(None) };
    match data.trim_ascii_start() {
        b"[DONE]" => Ok(Some(Event::Done)),
        data => serde_json::from_slice(data)
            .map(|value| Some(Event::Data(value)))
            .map_err(|_| ClientError::Answer("an event is no JSON")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_arrive_whole_however_they_are_cut() {
        let stream = ": hello\r\n\r\ndata: {\"a\":\"é\"}\n\nevent: x\ndata:2\r\n\r\ndata: [DONE]\n\n".as_bytes();
        let expected = [Event::Data(json!({ "a": "é" })), Event::Data(json!(2)), Event::Done];
        for size in 1..=stream.len() {
            let mut events = Events::default();
            let found: Vec<Event> = stream.chunks(size).flat_map(|chunk| events.push(chunk).unwrap()).collect();
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_and_so_is_an_endless_line() {
        let mut events = Events::default();
        assert!(matches!(events.push(b"data: {\n"), Err(ClientError::Answer(_))));
        let mut events = Events::default();
        let chunk = vec![b'x'; 1 << 20];
        let pushed: Result<Vec<_>, _> = (0..32).map(|_| events.push(&chunk)).collect();
        assert!(matches!(pushed, Err(ClientError::Answer(_))));
    }
}
