//! Texts that end an answer, found across token borders.

/// The stop strings of a request.
#[derive(Debug)]
pub(super) struct StopStrings {
    /// With their places in the request; none is empty.
    texts: Vec<(usize, String)>,
    longest: usize,
}

impl StopStrings {
    pub(super) fn new(texts: &[String]) -> Self {
        let texts: Vec<(usize, String)> =
            texts.iter().cloned().enumerate().filter(|(_, text)| !text.is_empty()).collect();
        let longest = texts.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
        Self { texts, longest }
    }

    /// Where the first stop string begins in `pending`, and which of the request's it is. All of `pending` before byte
    /// `new` was searched before, and all before byte `from` does not count.
    pub(super) fn find(&self, pending: &str, new: usize, from: usize) -> Option<(usize, usize)> {
        let mut begin = new.saturating_sub(self.longest).max(from).min(pending.len());
        while !pending.is_char_boundary(begin) {
            begin -= 1;
        }
        let found = |(which, text): &(usize, String)| Some((begin + pending[begin..].find(text.as_str())?, *which));
        self.texts.iter().filter_map(found).min()
    }

    /// Bytes of the request's stop string of this number.
    pub(super) fn bytes_of(&self, which: usize) -> usize {
        self.texts.iter().find(|(place, _)| *place == which).map_or(0, |(_, text)| text.len())
    }

    /// Bytes at the end of `pending` that may be the beginning of a stop string.
    pub(super) fn held_back(&self, pending: &str) -> usize {
        let held = |(_, text): &(usize, String)| {
            let longest = pending.len().min(text.len() - 1);
            (1..=longest)
                .rev()
                .find(|&bytes| text.is_char_boundary(bytes) && pending.as_bytes().ends_with(&text.as_bytes()[..bytes]))
        };
        self.texts.iter().filter_map(held).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::StopStrings;

    fn stop(texts: &[&str]) -> StopStrings {
        StopStrings::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_earliest_stop_string_is_found_across_the_border_of_old_and_new() {
        let stop = stop(&["", "END", "\n\n"]);
        assert_eq!(stop.find("some EN", 5, 0), None);
        assert_eq!(stop.find("some END\n\n", 7, 0), Some((5, 1)));
        assert_eq!(stop.find("some \n\nEND", 7, 0), Some((5, 2)));
        assert_eq!(stop.find("some END", 7, 8), None, "what does not count is not searched");
    }

    #[test]
    fn a_possible_beginning_is_held_back() {
        let stop = stop(&["END", "été"]);
        assert_eq!(stop.held_back("some EN"), 2);
        assert_eq!(stop.held_back("some E"), 1);
        assert_eq!(stop.held_back("some "), 0);
        assert_eq!(stop.held_back("ét"), 3);
        assert_eq!(stop.held_back("END"), 0, "a whole one is no beginning");
        assert_eq!(StopStrings::new(&[]).held_back("anything"), 0);
    }
}
