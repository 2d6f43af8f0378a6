//! Text as pages of the manual have it.

/// Columns of a line, as far as there are spaces to break it at.
const LINE_COLUMNS_MAX: usize = 78;
/// What a character that is not of ASCII becomes: `\[u2026]`.
const ESCAPED_COLUMNS: usize = 8;

/// A section whose lines stand as they are.
pub(super) fn literal(title: &str, text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{}\n", escaped(line.trim_end()))).collect();
    format!(".SH \"{title}\"\n.nf\n{lines}.fi\n")
}

/// A page without what means nothing: breaks beside others, and blanks at the ends of lines. Long lines are broken, which
/// shows nowhere.
pub(super) fn tidied(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let mut tidy = String::new();
    let mut before = "";
    for (at, line) in lines.iter().copied().enumerate() {
        let after = lines.get(at + 1).copied().unwrap_or_default();
        if line == ".br" && ([".sp", ".br"].contains(&before) || after == ".sp") {
            continue;
        }
        if line.starts_with(['.', '\'']) {
            tidy.push_str(line);
            tidy.push('\n');
        } else {
            broken(line, &mut tidy);
        }
        before = line;
    }
    tidy
}

/// Breaks a line that is filled into paragraphs anyway.
fn broken(line: &str, tidy: &mut String) {
    let mut length = 0;
    for word in line.split(' ') {
        let columns: usize = word.chars().map(|c| if c.is_ascii() { 1 } else { ESCAPED_COLUMNS }).sum();
        if length > 0 && length + 1 + columns > LINE_COLUMNS_MAX {
            tidy.push('\n');
            length = 0;
            if word.starts_with(['.', '\'']) {
                tidy.push_str("\\&");
            }
        } else if length > 0 {
            tidy.push(' ');
            length += 1;
        }
        tidy.push_str(word);
        length += columns;
    }
    tidy.push('\n');
}

/// A line of text as one that means only itself.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if line.starts_with('.') { format!("\\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let section = literal("EXAMPLES", ".a -b\n 'c' \\d  ");
        assert_eq!(section, ".SH \"EXAMPLES\"\n.nf\n\\&.a \\-b\n \\(aqc\\(aq \\ed\n.fi\n");
    }

    #[test]
    fn pages_lose_what_means_nothing() {
        assert_eq!(tidied(".SH A \na \n.br\n.sp\n.br\nb\n\n.br\n\n.br\nc\n"), ".SH A\na\n.sp\nb\n.br\nc\n");
        let words = ["word"; 40].join(" ");
        let long = format!("{words} .x");
        let tidy = tidied(&long);
        assert!(tidy.lines().all(|line| line.len() <= LINE_COLUMNS_MAX), "{tidy}");
        assert_eq!(tidy.replace('\n', " ").trim_end().replace("\\&", ""), long);
        let alone = "x".repeat(2 * LINE_COLUMNS_MAX);
        assert_eq!(tidied(&alone), format!("{alone}\n"), "a word is not broken");
        let dotted = format!("{} .x", "x".repeat(LINE_COLUMNS_MAX));
        assert!(tidied(&dotted).ends_with("\n\\&.x\n"));
    }
}
