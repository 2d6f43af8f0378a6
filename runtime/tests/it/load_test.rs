//! `dayfly bench serve`: load on a server that runs, and on one of its own.

use serde_json::{Value, json};

use crate::commands::{dayfly, home, json_of, ran, stderr, stdout};
use crate::models::good;
use crate::server::Server;

#[test]
fn a_running_server_is_asked_as_often_and_for_as_much_as_is_said() {
    let server = Server::serving(good);
    let url = format!("http://{}", server.address());
    let flags =
        ["bench", "serve", "good", "--prompt-tokens", "9", "--completion-tokens", "5", "--json", "--server", &url];
    let told = |more: &[&str]| json_of(&ran(server.home(), flags.iter().chain(more)));
    let report = told(&["--streams", "3", "--requests", "10"]);
    let requests = &report["requests"];
    assert_eq!((&requests["completed"], &requests["failed"], &requests["unsent"]), (&json!(10), &json!(0), &json!(0)));
    assert_eq!(report["answer_ms"]["count"], 10);
    assert_eq!(report["token_ms"]["count"], 10);
    let firsts = |kind: &str| report["first_token_ms"][kind]["count"].as_u64().unwrap_or(0);
    assert_eq!(firsts("warm") + firsts("cold"), 10);
    assert_eq!(requests["cold"].as_u64(), Some(firsts("cold")));
    // What clients saw is what the ledger has.
    let rows = server.settled_rows(10);
    let sum = |of: fn(&meter::Receipt) -> u64| rows.iter().map(|row| of(row.receipt.as_ref().unwrap())).sum::<u64>();
    assert_eq!((sum(|receipt| receipt.tokens.prompt), sum(|receipt| receipt.tokens.completion)), (90, 50));
    let joules: f64 = rows.iter().map(|row| row.receipt.as_ref().unwrap().energy.joules).sum();
    assert!((report["energy"]["joules"].as_f64().unwrap() / joules - 1.0).abs() < 1e-9, "{report}");
    let per_token = report["energy"]["joules_per_completion_token"].as_f64().unwrap();
    assert!((per_token * 50.0 / joules - 1.0).abs() < 1e-9, "{report}");
    assert!(report["cost"]["per_million_completion_tokens"].as_f64().unwrap() > 0.0, "{report}");

    let at_a_rate = told(&["--rate", "200", "--requests", "12"]);
    assert_eq!(at_a_rate["requests"]["completed"], 12, "{at_a_rate}");
    assert_eq!((&at_a_rate["asking"]["streams"], &at_a_rate["asking"]["per_second"]), (&Value::Null, &json!(200.0)));
    let unknown = ran(server.home(), ["bench", "serve", "goood", "--server", &url]);
    assert_eq!(unknown.status.code(), Some(3), "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("did you mean good?"), "{}", stderr(&unknown));
}

#[test]
fn without_a_server_one_is_started_and_what_it_refuses_is_told() {
    let home = home();
    let mut command = dayfly(home.path());
    command.args([
        "bench",
        "serve",
        "good",
        "--requests",
        "4",
        "--streams",
        "2",
        "--completion-tokens",
        "3",
        "--threads",
        "1",
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for word in [
        "2 streams, 64 tokens in and 3 out",
        "4 answered (",
        "each further token",
        "J a token out",
        "a million tokens out",
    ] {
        assert!(stdout(&output).contains(word), "{word}: {}", stdout(&output));
    }
    // The model has 512 positions.
    let refused = ran(home.path(), ["bench", "serve", "good", "--requests", "2", "--prompt-tokens", "600", "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((&report["requests"]["failed"], &report["requests"]["completed"]), (&json!(2), &json!(0)));
    assert_eq!(report["requests"]["failures"].as_object().unwrap().len(), 1, "{report}");
    assert_eq!(report["energy"]["joules_per_completion_token"], Value::Null);
}
