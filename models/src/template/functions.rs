//! What templates call beside the engine's own: the functions that the `transformers` library gives them.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};

/// Tells an error that a template raised on purpose from one that happened to it.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
pub(super) struct Raised;

/// Gives `environment` the functions.
pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
    });
    environment.add_function("strftime_now", |format: String| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        formatted_time(&format, now)
    });
    environment.add_filter("tojson", to_json);
}

/// As Python's `json.dumps` writes it: the engine's own filter writes for web pages, where `<` is dangerous.
fn to_json(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson(ensure_ascii=true) is not supported"));
    }
    let indent = indent.map_or_else(|| options.get::<Option<Value>>("indent"), |indent| Ok(Some(indent)))?;
    options.assert_all_used()?;
    let indent = indent.filter(|indent| !indent.is_none());
    let escaped = minijinja::filters::tojson(value, indent, Kwargs::from_iter([] as [(&str, Value); 0]))?;
    Ok(Value::from(unescaped(escaped.as_str().unwrap_or_default())))
}

/// JSON without the escapes of what web pages would read.
fn unescaped(json: &str) -> String {
    const ESCAPES: [(&str, char); 4] = [("u003c", '<'), ("u003e", '>'), ("u0026", '&'), ("u0027", '\'')];
    let mut plain = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(backslash) = rest.find('\\') {
        let after = &rest[backslash + 1..];
        plain.push_str(&rest[..backslash]);
        if let Some((escape, character)) = ESCAPES.iter().find(|(escape, _)| after.starts_with(escape)) {
            plain.push(*character);
            rest = &after[escape.len()..];
        } else {
            // Whatever is escaped here is no beginning of another escape.
            let escaped = after.chars().next().map_or(0, char::len_utf8);
            plain.push('\\');
            plain.push_str(&after[..escaped]);
            rest = &after[escaped..];
        }
    }
    plain + rest
}

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment, in seconds since 1970 in UTC, by a format of C's `strftime`: the directives that templates use.
fn formatted_time(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let name = |names: &[&'static str], index: u64| names[usize::try_from(index).expect("a remainder")];
    let (weekday, month_name) = (name(&DAYS, days % 7), name(&MONTHS, month - 1));
    let hour = second / 3600;
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        text += &match characters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('e') => format!("{day:2}"),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('H') => format!("{hour:02}"),
            Some('I') => format!("{:02}", (hour + 11) % 12 + 1),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{:02}:{:02}", second / 60 % 60, second % 60),
            Some('%') => "%".to_owned(),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "strftime_now: a directive is not supported")),
        };
    }
    Ok(text)
}

/// Year, month and day of a day since 1970. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2021).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{formatted_time, unescaped};

    #[test]
    fn moments_are_formatted_as_by_strftime() {
        let cases = [
            (0, "%d %b %Y", "01 Jan 1970"),
            (951_782_400, "%A, %B %e, %Y", "Tuesday, February 29, 2000"),
            (1_735_689_599, "%F %T %a %y", "2024-12-31 23:59:59 Tue 24"),
            (1_795_478_400, "%Y-%m-%d %I:%M:%S %p 100%%", "2026-11-24 12:00:00 AM 100%"),
        ];
        for (seconds, format, expected) in cases {
            assert_eq!(formatted_time(format, seconds).unwrap(), expected);
        }
        assert!(formatted_time("%Q", 0).is_err());
        assert!(formatted_time("50 %", 0).is_err());
    }

    #[test]
    fn only_what_was_escaped_for_web_pages_is_unescaped() {
        assert_eq!(
            unescaped(r#""\u003ca\u003e \u0026 \u0027 \\u003c \n \" \u00e9""#),
            r#""<a> & ' \\u003c \n \" \u00e9""#
        );
    }
}
