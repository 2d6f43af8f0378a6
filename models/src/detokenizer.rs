//! Tokens to text, as they come, without ever showing half a character.
//!
//! A token may end inside a UTF-8 sequence: its tail is kept until the next token completes it. Bytes that can no
//! longer become a character are shown as U+FFFD, one for each maximal invalid part (Unicode 16, section 3.9), so that
//! streaming a text gives exactly what decoding it whole would.

/// The open end of a text.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    tail: Vec<u8>,
}

impl Detokenizer {
    /// Takes a token's bytes and appends to `text` what is complete.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.tail.extend_from_slice(bytes);
        let mut begin = 0;
        loop {
            match std::str::from_utf8(&self.tail[begin..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    begin = self.tail.len();
                    break;
                }
                Err(error) => {
                    let valid = begin + error.valid_up_to();
                    text.push_str(std::str::from_utf8(&self.tail[begin..valid]).expect("validated up to here"));
                    begin = valid;
                    let Some(invalid) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    begin += invalid;
                }
            }
        }
        self.tail.drain(..begin);
    }

    /// Ends the text: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.tail.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.tail.clear();
        }
    }

    /// Bytes kept back.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.tail.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Detokenizer;

    fn stream(bytes: &[u8], pieces: usize) -> String {
        let (mut detokenizer, mut text) = (Detokenizer::default(), String::new());
        for piece in bytes.chunks(pieces) {
            detokenizer.push(piece, &mut text);
            assert!(detokenizer.pending_bytes() < 4);
        }
        detokenizer.finish(&mut text);
        text
    }

    #[test]
    fn pieces_of_any_size_give_the_lossy_decoding_of_the_whole() {
        let texts: [&[u8]; 6] = [
            "plain".as_bytes(),
            "naïve 日本語 🦀🦀".as_bytes(),
            b"\xf0\x9f\xa6",
            b"a\xffb\xc3(\xe2\x82",
            b"\xf0\x9f\x41\x80\x80",
            b"",
        ];
        for bytes in texts {
            for pieces in 1..=5 {
                assert_eq!(stream(bytes, pieces), String::from_utf8_lossy(bytes), "{bytes:?} by {pieces}");
            }
        }
    }

    #[test]
    fn half_a_character_is_not_shown() {
        let (mut detokenizer, mut text) = (Detokenizer::default(), String::new());
        detokenizer.push(&[0xf0, 0x9f], &mut text);
        assert_eq!(text, "");
        detokenizer.push(&[0xa6, 0x80], &mut text);
        assert_eq!(text, "🦀");
    }
}
