//! Tags, as Ollama has them behind names: a name without one is listed with [`LATEST`], which says nothing, so that names with it
//! and without mean the same by whatever interface. Deliberately absent: any other tag, which is a part of its name.

const LATEST: &str = ":latest";

/// The name without a tag that says nothing.
pub(crate) fn untagged(name: &str) -> &str {
    name.strip_suffix(LATEST).filter(|untagged| !untagged.is_empty()).unwrap_or(name)
}

/// The name with a tag.
pub(crate) fn tagged(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}{LATEST}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_tag_at_most() {
        for (plain, with_tag) in [("m", "m:latest"), ("m:1b", "m:1b"), (":latest", ":latest")] {
            assert_eq!((tagged(plain).as_str(), tagged(with_tag).as_str()), (with_tag, with_tag));
            assert_eq!((untagged(with_tag), untagged(plain)), (plain, plain));
        }
    }
}
