//! Grammars in GBNF: what they accept, held against a matcher that follows the notation to the letter, and what is refused.

mod reference;

use loader::fixture::Random;

use super::{check, refusal, tokenizer, walk};
use crate::grammar::{GrammarError, GrammarSource, Opening, Vocabulary, is_gbnf};
use crate::limits::{GBNF_PARTS_MAX, GBNF_TIMES_MAX, GRAMMAR_BYTES_MAX, GRAMMAR_NESTING_MAX, REGEX_SIZE_MAX};
use reference::Sample;

fn gbnf(text: &str) -> GrammarSource {
    GrammarSource::Gbnf(text.to_owned())
}

#[test]
fn every_form_of_the_notation_is_kept_to() {
    check(
        &gbnf("root ::= \"a\\n\\t\\r\\\\\\\"\\x41\\u00e9\\U0001F980\\[\\]\" [\\n-]"),
        &["a\n\t\r\\\"Aé🦀[]-"],
        &["a"],
        &["b"],
    );
    check(
        &gbnf("root ::= [a-cx\\-\\]é] [^a-z\\n] ."),
        &["a1\n", "-éé", "]A🦀", "é- "],
        &["a", "x1"],
        &["d", "aa", "a\n"],
    );
    check(
        &gbnf("root ::= \"a\"* \"b\"+ \"c\"? \"d\"{2} \"e\"{1,} \"f\"{,2} \"g\"{1,2}"),
        &["abcddeffgg", "bddeg"],
        &["bd"],
        &["bddg"],
    );
    check(
        &gbnf("root ::= \"\" | (\"ab\" | \"cd\"){0,2} \"e\"{0}"),
        &["", "ab", "abcd"],
        &["a", "abc"],
        &["ababa", "e"],
    );
    let spread = "# A comment.\nroot ::= # Another.\n  first-rule |\n  \"x\" (\n \"y\" # In brackets.\n | Z_2\n )\n\nfirst-rule ::= \"a\"\n\
                  Z_2::=\"z\"\r\nunused ::= root";
    check(&gbnf(spread), &["a", "xy", "xz"], &["x"], &["y", "xx"]);
}

#[test]
fn what_could_be_read_too_far_is_not() {
    check(&gbnf("root ::= [a-z]* \"z\""), &["z", "zz", "abcz"], &["abc", ""], &["A"]);
    check(&gbnf("root ::= \"a\" \"bd\" | \"ab\" \"c\" | \"a\" root"), &["abd", "abc", "aabd"], &["ab"], &["abb"]);
    // As those who write grammars for llama.cpp write them: the spaces behind a term may be line ends, too.
    let sums = gbnf(
        "root ::= (expr \"=\" ws term \"\\n\")+\nexpr ::= term ([-+*/] term)*\nterm ::= name | num | \"(\" ws expr \")\" ws\n\
         name ::= [a-z] [a-z0-9_]* ws\nnum ::= [0-9]+ ws\nws ::= [ \\t\\n]*",
    );
    check(
        &sums,
        &["a=1\n", "(x +1)*y2 = 7\n\n", "1=2\n3\n=4\n"],
        &["a=1", "(", "a=1\n1"],
        &["a=1)", "=", "a b", "a=1+"],
    );
    let list = gbnf("root ::= item+\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ \"\\n\"");
    check(&list, &["- a\n", "- a b\n- é\n"], &["- a", "- "], &["- \n", "a"]);
}

#[test]
fn grammars_without_an_end_to_their_nesting_are_kept_to() {
    let json = gbnf(
        "root ::= object\nvalue ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n\
         object ::= \"{\" ws (string \":\" ws value (\",\" ws string \":\" ws value)*)? \"}\" ws\n\
         array ::= \"[\" ws (value (\",\" ws value)*)? \"]\" ws\n\
         string ::= \"\\\"\" ([^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\" ws\n\
         number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n\
         ws ::= | \" \" | \"\\n\" [ \\t]{0,20}",
    );
    let whole = "{ \"a\": [1, -2.5e+1, {\"b\" :\n\t\t[]}],\"é\\u00e9\\n\": \"x\", \"\":null}\n";
    check(&json, &["{}", whole], &["{", "{\"a\""], &["[", "{\"a\":01", "{\"a\":tru}", "{\"\n", "{a"]);
    let left = gbnf("root ::= root \"+\" num | num\nnum ::= [0-9]+");
    check(&left, &["1", "1+23+4"], &["1+"], &["+", "1++"]);
    let even = gbnf("root ::= \"a\" root \"a\" | \"b\" root \"b\" | ");
    check(&even, &["", "aa", "abba", "aabbaa"], &["ab", "a"], &["c"]);
    let behind = gbnf("root ::= \"(\" root \")\" | [a-z]+").behind(Opening::Begun);
    check(&behind, &["Hm (</think>\n((ab))"], &["((ab))"], &["</think>)"]);
}

#[test]
fn brackets_may_be_as_deep_as_is_said() {
    for depth in [15, 60, GRAMMAR_NESTING_MAX - 1] {
        let digits = format!("[0-9]{}{}", " ([0-9]".repeat(depth), ")?".repeat(depth));
        check(&gbnf(&format!("root ::= {digits}")), &["1", "1234"], &[], &["a", "1a"]);
        check(&gbnf(&format!("root ::= \"x\" root | {digits}")), &["1", "xx1234"], &["x"], &["a", "1x"]);
    }
    let rules = format!("root ::= \"x\" | {}root \"c\"{}", "(\"a\" | \"b\" ".repeat(30), ")*".repeat(30));
    check(&gbnf(&rules), &["", "x", "a", "b", "bbaa"], &[], &["c", "xa"]);
}

#[test]
fn random_grammars_accept_what_the_notation_says() {
    let tokenizer = tokenizer();
    let vocabulary = Vocabulary::of(&tokenizer).unwrap();
    let mut random = Random::new(3);
    let (mut accepted, mut refused, mut endless) = (0, 0, 0);
    for _ in 0..400 {
        let rules: Vec<Sample> = (0..3).map(|_| Sample::random(&mut random, 3)).collect();
        let text = reference::written(&rules);
        let grammar = match vocabulary.compile(&gbnf(&text)) {
            Ok(grammar) => grammar,
            Err(GrammarError::Endless) => {
                endless += 1;
                continue;
            }
            Err(error) => panic!("{text}: {error}"),
        };
        for _ in 0..12 {
            let answer = reference::answer(&rules, &mut random);
            let is_accepted = reference::accepts(&rules, &answer);
            assert_eq!(walk(&tokenizer, &grammar, &answer) == (true, true), is_accepted, "{answer:?} of\n{text}");
            if is_accepted { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(accepted > 500 && refused > 500, "{accepted} answers were accepted, {refused} refused");
    assert!(endless < 150, "{endless} of 400 grammars have no answers");
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    for (text, line, column, words) in [
        ("root ::= \"a\" nowhere", 1, 14, "no rule `nowhere`"),
        ("start ::= \"a\"", 1, 1, "no rule `root`"),
        ("root ::= \"a\n", 1, 10, "never closed"),
        ("root ::= [a", 1, 10, "never closed"),
        ("root ::= (\"a\"\n  | \"b\"", 1, 10, "never closed"),
        ("root ::= \"a\" )", 1, 14, "closes nothing"),
        ("root ::= \"a\"\nroot ::= \"b\"", 2, 1, "already"),
        ("root ::= a\na ::= \"é\" \"\\q\"", 2, 12, "no escape"),
        ("root ::= \"\\xg1\"", 1, 11, "2 hexadecimal"),
        ("root ::= \"\\uD800\"", 1, 11, "no character"),
        ("root ::= [z-a]", 1, 11, "ends before"),
        ("root ::= []", 1, 10, "empty"),
        ("root ::= [^\\x00-\\U0010FFFF]", 1, 10, "no characters"),
        ("root ::= *", 1, 10, "nothing here to repeat"),
        ("root ::= \"a\"{2,1}", 1, 14, "less than"),
        ("root ::= \"a\"{}", 1, 14, "a number"),
        ("root ::= \"a\"{2", 1, 15, "`}`"),
        ("root ::= \"a\"{2001}", 1, 14, "more than"),
        ("root ::= <think> \"a\"", 1, 10, "tokens"),
        ("root ::= \"a\" !<[12]>", 1, 14, "tokens"),
        ("root = \"a\"", 1, 6, "`::=`"),
        ("root ::= \"a\" ; \"b\"", 1, 14, "`;`"),
    ] {
        match refusal(&gbnf(text)) {
            GrammarError::Gbnf { line: at, column: of, reason } => {
                assert_eq!((at, of), (line, column), "{text}: {reason}");
                assert!(reason.contains(words), "{text}: {reason}");
            }
            other => panic!("{text}: {other}"),
        }
    }
    for endless in ["root ::= \"a\" root", "root ::= a\na ::= b | \"x\" a\nb ::= a a"] {
        assert!(matches!(refusal(&gbnf(endless)), GrammarError::Endless), "{endless}");
    }
    assert!(matches!(refusal(&gbnf(" \n")), GrammarError::Empty));
}

#[test]
fn what_is_too_much_is_refused() {
    let too_large = |text: &str, expected: usize| {
        let refusal = refusal(&gbnf(text));
        assert!(matches!(refusal, GrammarError::TooLarge { max, .. } if max == expected), "{refusal}");
    };
    too_large(&format!("root ::= \"{}\"", "a".repeat(GRAMMAR_BYTES_MAX)), GRAMMAR_BYTES_MAX);
    too_large(&format!("root ::= {}", "[ab]".repeat(GBNF_PARTS_MAX + 1)), GBNF_PARTS_MAX);
    too_large(&format!("root ::= {}", "(".repeat(GRAMMAR_NESTING_MAX + 1)), GRAMMAR_NESTING_MAX);
    too_large("root ::= (\"a\"{200}){200}", REGEX_SIZE_MAX);
    let times = format!("root ::= [a-z]{{{GBNF_TIMES_MAX}}}");
    check(&gbnf(&times), &[], &["abc"], &["1"]);
    // So many words beside each other that nobody finds out in time how they stand.
    let many: Vec<String> = (0..900).map(|_| "[a-z]+ root".to_owned()).collect();
    too_large(&format!("root ::= \"\" | {}", many.join(" | ")), crate::limits::GBNF_STEPS_MAX);
    // Characters beyond count, in words without number: each would have all of them.
    let class: String = (0x800..0xD000).step_by(2).filter_map(char::from_u32).take(17_000).collect();
    let twenty = |rule: &str| [rule; 20].join(" ");
    let wide = format!(
        "root ::= \"x\" root {}\nr ::= [{class}]\na ::= {}\nb ::= {}",
        "| b".repeat(60),
        twenty("r"),
        twenty("a")
    );
    too_large(&wide, crate::limits::GBNF_STEPS_MAX);
    // Texts of which every place may stand beside every other one.
    let (one, two) = ("a".repeat(4000), "a".repeat(3999));
    too_large(
        &format!("root ::= \"x\" | one root | two root\none ::= \"{one}\"\ntwo ::= \"{two}\""),
        crate::limits::GBNF_STEPS_MAX,
    );
    // What has too many states to be one word is made of smaller ones.
    let long = format!("root ::= \"x\" root | \"{}\"", "ab".repeat(300));
    check(&gbnf(&long), &[&format!("xx{}", "ab".repeat(300))], &["xab"], &["a1"]);
}

#[test]
fn a_text_tells_in_which_notation_it_is() {
    for text in ["root ::= \"a\"", "# c\n\n  root::=x", "a-b_C ::= \"start: x\"", "// c\nroot ::= a"] {
        assert!(is_gbnf(text), "{text}");
    }
    for text in ["start: \"::=\"", "start: a\na: b", "", "# root ::= a", "%ignore / /\nstart: \"a\"", "root : := a"] {
        assert!(!is_gbnf(text), "{text}");
    }
}
