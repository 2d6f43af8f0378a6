//! What templates call beside the engine's own: the functions that the `transformers` library gives them.

use chrono::format::StrftimeItems;
use chrono::{DateTime, Utc};
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
    environment.add_function("strftime_now", |format: String| formatted_time(&format, Utc::now()));
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

/// A moment by a format of C's `strftime`.
fn formatted_time(format: &str, moment: DateTime<Utc>) -> Result<String, Error> {
    let unsupported = || Error::new(ErrorKind::InvalidOperation, "strftime_now: a directive is not supported");
    let items = StrftimeItems::new(format).parse().map_err(|_| unsupported())?;
    Ok(moment.format_with_items(items.iter()).to_string())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{formatted_time, unescaped};

    #[test]
    fn moments_are_formatted_as_by_strftime() {
        let cases = [
            (0, "%d %b %Y", "01 Jan 1970"),
            (951_782_400, "%A, %B %e, %Y", "Tuesday, February 29, 2000"),
            (951_782_400, "%-d %j", "29 060"),
            (1_735_689_599, "%F %T %a %y", "2024-12-31 23:59:59 Tue 24"),
            (1_795_478_400, "%Y-%m-%d %I:%M:%S %p 100%%", "2026-11-24 12:00:00 AM 100%"),
        ];
        for (seconds, format, expected) in cases {
            assert_eq!(formatted_time(format, DateTime::from_timestamp(seconds, 0).unwrap()).unwrap(), expected);
        }
        assert!(formatted_time("%Q", DateTime::UNIX_EPOCH).is_err());
        assert!(formatted_time("50 %", DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn only_what_was_escaped_for_web_pages_is_unescaped() {
        assert_eq!(
            unescaped(r#""\u003ca\u003e \u0026 \u0027 \\u003c \n \" \u00e9""#),
            r#""<a> & ' \\u003c \n \" \u00e9""#
        );
    }
}
