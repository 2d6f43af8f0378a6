//! What is different between two readings of the configuration file, and which of it a running server takes on.
//!
//! Keys are told apart by their paths, `tenants.acme.weight`; lists are taken whole. [`LIVE`] names those that may change
//! while a server runs; all others wait for the next start.
//!
//! Invariants: a key's value is told only where it may change, and never one of `keys`. Currencies are never mixed: with
//! another one all rates, savings and budgets wait, since amounts that were recorded are in the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use meter::rate::RateCard;
use toml::{Table, Value};

/// What may change while a server runs, with all that is below; `*` is any name.
pub(crate) const LIVE: [&str; 15] = [
    "anonymous",
    "carbon",
    "hosts",
    "http.overlong_answers",
    "http.unknown_fields",
    "keep_alive",
    "keys",
    "ledger_retention",
    "log",
    "models.*.keep_alive",
    "origins",
    "pull",
    "rates",
    "savings",
    "tenants",
];
/// Characters of a value that are told.
const VALUE_CHARS_MAX: usize = 80;

type Key = Vec<String>;

/// A key that says something else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its path.
    pub(crate) key: String,
    /// When that counts.
    pub(crate) effect: Effect,
    values: [Option<String>; 2],
}

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// At once.
    Live,
    /// From the next start on.
    Restart,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = self.values.each_ref().map(|value| value.as_deref().unwrap_or("nothing"));
        match self.effect {
            Effect::Live if is_secret(&self.key) => write!(f, "{}: changed", self.key),
            Effect::Live => write!(f, "{}: {before} -> {after}", self.key),
            Effect::Restart => f.write_str(&self.key),
        }
    }
}

/// The keys that differ, in order.
pub(crate) fn changes(before: &Table, after: &Table) -> Vec<Change> {
    let [old, new] = [before, after].map(leaves);
    let keys: BTreeSet<&Key> = old.keys().chain(new.keys()).collect();
    let is_mixed = has_other_currency(before, after);
    let changed = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    changed
        .map(|key| {
            let values = [old.get(key), new.get(key)].map(|value| value.map(|value| shortened(value)));
            let effect = if is_live(key, is_mixed) { Effect::Live } else { Effect::Restart };
            Change { key: key.join("."), effect, values }
        })
        .collect()
}

/// `before` with what may change as it is in `after`.
pub(crate) fn with_live(before: &Table, after: &Table) -> Table {
    let is_mixed = has_other_currency(before, after);
    let kept = leaves(before).into_iter().filter(|(key, _)| !is_live(key, is_mixed));
    let taken = leaves(after).into_iter().filter(|(key, _)| is_live(key, is_mixed));
    let mut merged = Table::new();
    for (key, value) in kept.chain(taken) {
        insert(&mut merged, &key, value.clone());
    }
    merged
}

/// Whether the prices before and after are in different currencies.
fn has_other_currency(before: &Table, after: &Table) -> bool {
    let currency = |table: &Table| {
        let said = table.get("rates").and_then(|rates| rates.get("currency")).and_then(Value::as_str);
        said.map_or_else(|| RateCard::default().currency, str::to_owned)
    };
    currency(before) != currency(after)
}

/// What is in the currency of the rates, or may be.
fn is_of_money(key: &[String]) -> bool {
    match key {
        [first, ..] if first == "rates" || first == "savings" => true,
        [first, _, last, ..] => first == "tenants" && last == "budgets",
        _ => false,
    }
}

fn is_live(key: &[String], is_mixed: bool) -> bool {
    let is_below = |pattern: &str| {
        let parts: Vec<&str> = pattern.split('.').collect();
        parts.len() <= key.len() && parts.iter().zip(key).all(|(part, name)| *part == "*" || part == name)
    };
    LIVE.iter().any(|pattern| is_below(pattern)) && !(is_mixed && is_of_money(key))
}

fn is_secret(key: &str) -> bool {
    key == "keys" || key.starts_with("keys.")
}

fn shortened(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(VALUE_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Everything that is no table, and tables with nothing in them, by their paths.
fn leaves(table: &Table) -> BTreeMap<Key, &Value> {
    let mut leaves = BTreeMap::new();
    let mut open: Vec<(Key, &Table)> = vec![(Vec::new(), table)];
    while let Some((path, table)) = open.pop() {
        for (name, value) in table {
            let key: Key = path.iter().chain([name]).cloned().collect();
            match value.as_table().filter(|table| !table.is_empty()) {
                Some(below) => open.push((key, below)),
                None => _ = leaves.insert(key, value),
            }
        }
    }
    leaves
}

/// Puts `value` at `key`, through tables that are made where they are not there.
fn insert(table: &mut Table, key: &[String], value: Value) {
    let Some((last, path)) = key.split_last() else { return };
    let mut at = table;
    for name in path {
        let below = at.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
        let Some(below) = below.as_table_mut() else { return };
        at = below;
    }
    at.insert(last.clone(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    const BEFORE: &str = "listen = '127.0.0.1:1'\nkeep_alive = '5m'\n[tenants.a]\nweight = 1\n[tenants.b]\n\
                          [models.m]\nkeep_alive = '1h'\nweight = 2\n[[keys]]\ntenant = 'a'\nsha256 = 'secret'";

    #[test]
    fn changes_say_when_they_count_and_no_secret() {
        let after = "listen = '127.0.0.1:2'\nkeep_alive = '1m'\n[tenants.a]\nweight = 3\nmodels = ['x']\n\
                     [models.m]\nkeep_alive = '2h'\nweight = 4\n[[keys]]\ntenant = 'a'\nsha256 = 'other secret'";
        let changes = changes(&table(BEFORE), &table(after));
        let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "keep_alive: \"5m\" -> \"1m\"",
                "keys: changed",
                "listen",
                "models.m.keep_alive: \"1h\" -> \"2h\"",
                "models.m.weight",
                "tenants.a.models: nothing -> [\"x\"]",
                "tenants.a.weight: 1 -> 3",
                "tenants.b: {} -> nothing",
            ]
        );
        let waiting: Vec<&str> =
            changes.iter().filter(|change| change.effect == Effect::Restart).map(|change| &*change.key).collect();
        assert_eq!(waiting, ["listen", "models.m.weight"]);
    }

    #[test]
    fn what_may_change_is_taken_and_the_rest_is_left() {
        let after = "listen = '127.0.0.1:2'\n[tenants.c]\nweight = 9\n[models.m]\nweight = 4\n[pool]\nlock = true";
        let merged = with_live(&table(BEFORE), &table(after));
        assert_eq!(
            merged,
            table("listen = '127.0.0.1:1'\n[tenants.c]\nweight = 9\n[models.m]\nweight = 2"),
            "a key that is gone is gone, and a new one that needs a restart is not there yet"
        );
    }

    #[test]
    fn prices_in_another_currency_wait_all_of_them() {
        let before = table("[rates]\ncurrency = 'USD'\ncpu_hour = 1.0");
        let dearer = table("[rates]\ncurrency = 'USD'\ncpu_hour = 2.0");
        assert_eq!(with_live(&before, &dearer), dearer);
        let other = table("[rates]\ncurrency = 'EUR'\ncpu_hour = 2.0");
        assert_eq!(with_live(&before, &other), before);
        assert!(changes(&before, &other).iter().all(|change| change.effect == Effect::Restart));
        let with_amounts = "[savings]\nrealised_per_hour = 1.0\n[tenants.a]\nweight = 2\nbudgets = ['5 EUR/day']\n";
        let other = table(&format!("{with_amounts}[rates]\ncurrency = 'EUR'"));
        let live = |change: &&Change| change.effect == Effect::Live;
        let changed = changes(&before, &other);
        assert_eq!(changed.iter().filter(live).map(|change| &*change.key).collect::<Vec<_>>(), ["tenants.a.weight"]);
        // To say what is so anyway is no other currency.
        assert!(changes(&table(""), &before).iter().all(|change| change.effect == Effect::Live));
    }

    #[test]
    fn every_key_of_the_list_is_one_that_a_file_can_have() {
        for pattern in LIVE {
            let first = pattern.split('.').next().unwrap();
            let error = toml::from_str::<crate::config::Layer>(&format!("{first} = 1e9999")).unwrap_err();
            assert!(!error.to_string().contains("unknown field"), "{pattern}: {error}");
        }
    }
}
