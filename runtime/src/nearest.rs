//! What the user may have meant by a name that is none.

/// Names shown at most.
const SUGGESTIONS_MAX: usize = 3;
/// Characters of a name that are compared.
const CHARS_MAX: usize = 256;

/// ` (did you mean …?)`, or nothing.
pub(crate) fn hint<Name: AsRef<str>>(asked: &str, names: &[Name]) -> String {
    match nearest(asked, names).as_slice() {
        [] => String::new(),
        near => format!(" (did you mean {}?)", near.join(" or ")),
    }
}

/// The names that are most like `asked`, the best first; none that are not like it, and not itself.
pub(crate) fn nearest<'a, Name: AsRef<str>>(asked: &str, names: &'a [Name]) -> Vec<&'a str> {
    let folded = |text: &str| -> Vec<char> { text.chars().take(CHARS_MAX).flat_map(char::to_lowercase).collect() };
    let (exactly, asked) = (asked, folded(asked));
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .filter_map(|name| {
            let name = Some(name.as_ref()).filter(|name| *name != exactly)?;
            let folded = folded(name);
            let starts_so = asked.len() >= 3 && folded.starts_with(&asked);
            let distance = distance(&asked, &folded).min(if starts_so { 1 } else { usize::MAX });
            (distance <= asked.len().max(folded.len()) / 3).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one to the other.
///
/// Source: the optimal string alignment distance, after F. J. Damerau, CACM 7 (3), 1964.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(x != y);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_lead_to_what_was_meant() {
        let names: Vec<String> =
            ["gemma3-270m", "smollm2", "SmolLM2-135M-Instruct.Q4_1", "a"].map(str::to_owned).to_vec();
        assert_eq!(nearest("smolm2", &names)[0], "smollm2");
        assert_eq!(nearest("somllm2", &names)[0], "smollm2");
        assert_eq!(nearest("smollm2-135m", &names), ["SmolLM2-135M-Instruct.Q4_1"]);
        assert_eq!(nearest("SMOLLM2", &names)[0], "smollm2");
        assert_eq!(nearest("gpt-4o", &names), [] as [&str; 0]);
        assert_eq!(nearest("", &names), [] as [&str; 0]);
        assert_eq!(hint("gema3-270m", &names), " (did you mean gemma3-270m?)");
        assert_eq!(hint("x", &names), "");
        assert_eq!(nearest("smollm2", &names), ["SmolLM2-135M-Instruct.Q4_1"], "nobody meant the same");
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in
            [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)]
        {
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
            assert_eq!(distance(&chars(b), &chars(a)), expected, "{b} {a}");
        }
    }
}
