//! Grammars as llama.cpp's clients send them: answers are checked by hand, and wrong ones refused with their place.

use serde_json::{Value, json};

use crate::models::good;
use crate::server::{Options, Server};
use crate::smollm2::models_dir;

const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) ){0,20} "\"" ws
number ::= "-"? ([0-9] | [1-9] [0-9]{0,8}) ("." [0-9]{1,4})? ws
# Few spaces, so that a model cannot go on with them.
ws     ::= | " " | "\n" [ \t]{0,4}
"#;

const SUMS: &str = r#"
root ::= sum "=" ws term "\n"
sum  ::= term ([-+*/] ws term){1,4}
term ::= name | num | "(" ws sum ")" ws
name ::= [a-z] [a-z0-9_]{0,5} ws
num  ::= [0-9]{1,4} ws
ws   ::= [ \t\n]?
"#;

const LIST: &str = "root ::= item{2,4}\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]{1,30} \"\\n\"";

const CHESS: &str = r#"
root ::= "1. " move " " move "\n" ([2-4] ". " move " " move "\n"){1,3}
move ::= (pawn | piece | castle) [+#]?
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBQR])?
piece ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle ::= "O-O" "-O"?
"#;

const JAPANESE: &str = "root ::= jp-char{3,12} ([ \\t\\n] jp-char{1,6}){0,2}\njp-char ::= hiragana | katakana | sign | cjk\n\
    hiragana ::= [ぁ-ゟ]\nkatakana ::= [ァ-ヿ]\nsign ::= [、-〾]\ncjk ::= [一-龯]";

const PROGRAM: &str = r#"
root        ::= function
function    ::= "int " name "() {" ws statement{1,2} "}" "\n"
statement   ::= ( "int " name " = " expression ";" | "return " expression ";" | "while (" expression ") {" ws step "}" ) ws
step        ::= name " = " expression ";" ws | statement
expression  ::= operand ( [-+*<] operand )?
operand     ::= name | [0-9]{1,3} | "(" expression ")"
name        ::= [a-z]{1,6}
ws          ::= [ \n]?
"#;

fn ask(server: &Server, path: &str, grammar: &str, seed: u64) -> Option<String> {
    let mut body = json!({ "model": "smollm2", "grammar": grammar, "max_tokens": 200, "temperature": 1, "seed": seed });
    let prompt = "Here is an example:\n";
    let answer = if path == "/completion" {
        body["prompt"] = json!(prompt);
        server.post(path, &body).ok()
    } else {
        body["messages"] = json!([{ "role": "user", "content": prompt }]);
        server.post(path, &body).ok()
    };
    let choice = &answer["choices"][0];
    let (content, is_whole) = if path == "/completion" {
        (&answer["content"], answer["stop_type"] == "eos")
    } else {
        (&choice["message"]["content"], choice["finish_reason"] == "stop")
    };
    is_whole.then(|| content.as_str().unwrap().to_owned())
}

fn is_sum(text: &str) -> bool {
    let plain: String = text.chars().filter(|one| !one.is_whitespace()).collect();
    let open = plain.chars().try_fold(0_i32, |open, one| match one {
        '(' => Some(open + 1),
        ')' => Some(open - 1).filter(|open| *open >= 0),
        _ => Some(open),
    });
    let Some((left, right)) = plain.split_once('=') else { return false };
    let is_of = |text: &str, more: &str| {
        text.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_' || more.contains(one))
    };
    let no_two = !plain.as_bytes().windows(2).any(|pair| pair.iter().all(|one| b"-+*/".contains(one)));
    open == Some(0)
        && no_two
        && text.ends_with('\n')
        && is_of(left, "-+*/()")
        && is_of(right, "-+*/()")
        && !right.is_empty()
}

fn is_list(text: &str) -> bool {
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    let is_item = |line: &&str| line.strip_prefix("- ").is_some_and(|item| (1..=30).contains(&item.chars().count()));
    text.ends_with('\n') && (2..=4).contains(&lines.len()) && lines.iter().all(is_item)
}

fn is_move(text: &str) -> bool {
    let text = text.trim_end_matches(['+', '#']);
    if matches!(text, "O-O" | "O-O-O") {
        return true;
    }
    let text = text.split_once('=').map_or(text, |(before, piece)| if "NBQR".contains(piece) { before } else { "" });
    let is_square = |square: &[u8]| matches!(square, [b'a'..=b'h', b'1'..=b'8']);
    let signs = |rest: &[u8]| rest.iter().all(|one| matches!(one, b'a'..=b'h' | b'1'..=b'8' | b'x')) && rest.len() <= 3;
    match text.as_bytes() {
        [b'N' | b'B' | b'K' | b'Q' | b'R', rest @ .., file, rank] => is_square(&[*file, *rank]) && signs(rest),
        [rest @ .., file, rank] => is_square(&[*file, *rank]) && signs(rest),
        _ => false,
    }
}

fn is_game(text: &str) -> bool {
    let is_line = |(index, line): (usize, &str)| {
        let parts: Vec<&str> = line.split(' ').collect();
        let number = parts[0].strip_suffix('.').and_then(|number| number.parse::<usize>().ok());
        let is_number = number.is_some_and(|number| if index == 0 { number == 1 } else { (2..=4).contains(&number) });
        is_number && parts.len() == 3 && parts[1..].iter().all(|one| is_move(one))
    };
    text.ends_with('\n') && text.lines().count() >= 2 && text.lines().enumerate().all(is_line)
}

fn is_japanese(text: &str) -> bool {
    let is_one = |one: char| matches!(one, 'ぁ'..='ゟ' | 'ァ'..='ヿ' | '、'..='〾' | '一'..='龯' | ' ' | '\t' | '\n');
    text.chars().all(is_one) && text.chars().count() >= 3
}

fn is_program(text: &str) -> bool {
    let balanced = |open: char, close: char| text.matches(open).count() == text.matches(close).count();
    let is_of = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || " \n(){};=+-*<".contains(one);
    text.starts_with("int ")
        && text.ends_with("}\n")
        && balanced('(', ')')
        && balanced('{', '}')
        && text.chars().all(is_of)
}

/// A grammar, and whether a text is of it.
type Example = (&'static str, fn(&str) -> bool);

#[test]
fn smollm2_keeps_to_grammars_in_gbnf_whatever_is_drawn() {
    let server = Options::with_models_in(models_dir()).config("ctx_max = 1024").start();
    let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    let examples: [Example; 6] = [
        (JSON, is_json),
        (SUMS, is_sum),
        (LIST, is_list),
        (CHESS, is_game),
        (JAPANESE, is_japanese),
        (PROGRAM, is_program),
    ];
    for (grammar, accepts) in examples {
        let mut whole = 0;
        let paths = ["/completion", "/completion", "/v1/chat/completions", "/completion", "/v1/chat/completions"];
        for (seed, path) in (1..).zip(paths) {
            if let Some(text) = ask(&server, path, grammar, seed) {
                assert!(accepts(&text), "{text:?} by {grammar}");
                whole += 1;
            }
        }
        assert!(whole > 0, "some answer is whole by {grammar}");
    }
}

#[test]
fn a_grammar_is_in_gbnf_where_it_says_so() {
    let server = Server::serving(good);
    let completion =
        |grammar: &str| json!({ "model": "good", "prompt": "hello", "temperature": 0, "grammar": grammar });
    let text = |grammar: &str| server.complete(&completion(grammar)).ok()["choices"][0]["text"].clone();
    assert_eq!(text("# GBNF\nroot ::= \"a\" b-c\nb-c ::= \"::=\""), "a::=");
    assert_eq!(text("start: \"::=\""), "::=");
    assert_eq!(server.post("/completion", &completion("root ::= \"ab\"")).ok()["content"], "ab");
    for (path, grammar, words) in [
        ("/v1/completions", "root ::= \"a\" nowhere", "line 1, column 14 of GBNF: there is no rule `nowhere`"),
        ("/v1/completions", "a ::= \"a\"", "GBNF: there is no rule `root`"),
        ("/v1/completions", "root ::= (\"a\"", "line 1, column 10 of GBNF"),
        ("/v1/completions", "root ::= <think>", "tokens by name or number are not supported"),
        ("/v1/completions", "root: \"a\"", "Lark"),
        ("/completion", "start: \"a\"", "GBNF"),
        ("/completion", "root ::= \"a\" root", "without end"),
    ] {
        let response = server.post(path, &completion(grammar));
        assert_eq!(response.status, 400, "{response}");
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(words) && message.contains("`grammar`"), "{message}");
    }
}
