//! What was chosen, in the words and units of the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use scheduler::{KeepAlive, PoolOptions};
use toml::Value;

use crate::config::{AllowedOrigin, Config, PagePolicy, word_of};

/// Keys and values of one table that are known without a file; `None` where nothing is chosen.
pub(super) type Values = Vec<(&'static str, Option<Value>)>;

impl Config {
    /// What stands before all tables.
    pub(super) fn at_the_top(&self) -> Values {
        let paths = |paths: &[PathBuf]| Some(Value::Array(paths.iter().map(|path| path_value(path)).collect()));
        let texts = |texts: Vec<&str>| Some(Value::Array(texts.into_iter().map(Value::from).collect()));
        vec![
            ("listen", Some(self.listen.to_string().into())),
            ("models_dirs", paths(&self.models_dirs)),
            ("ledger", Some(path_value(&self.ledger))),
            ("ledger_retention", self.ledger_retention.map(span_value)),
            ("descriptors_dir", Some(path_value(&self.descriptors_dir))),
            ("memory_budget", Some(size_value(self.devices[0].memory_bytes))),
            ("ctx_max", self.context_max.map(count_value)),
            ("threads", Some(count_value(self.threads.get()))),
            ("isa", Some(self.isa.name().into())),
            ("keep_alive", Some(stay_value(self.pool.keep_alive_default))),
            ("links", Some(word_of(self.links).into())),
            ("pull", Some(word_of(self.pull).into())),
            ("hf_endpoint", Some(self.hub.endpoint.to_string().into())),
            ("hosts", texts(self.hosts.iter().map(String::as_str).collect())),
            ("origins", texts(self.origins.iter().map(AllowedOrigin::text).collect())),
            ("anonymous", Some(word_of(self.tenants.anonymous).into())),
            ("exit_when_idle", self.exit_when_idle.map(span_value)),
            ("log", self.log.as_ref().map(|directives| directives.to_string().into())),
        ]
    }

    /// The tables whose keys are known; `written` is the file.
    pub(super) fn in_tables(&self, written: &toml::Table) -> Vec<(&'static str, Values)> {
        let contexts = vec![
            ("dir", Some(path_value(&self.contexts.dir))),
            ("disk_max", Some(size_value(self.contexts.disk_bytes_max))),
        ];
        let energy = vec![("design_watts", self.design_power.map(|power| Value::from(power.get() as f64 / 1e6)))];
        let http = vec![
            ("unknown_fields", Some(word_of(self.unknown_fields).into())),
            ("overlong_answers", Some(word_of(self.overlong_answers).into())),
        ];
        vec![
            ("http", http),
            ("pool", self.of_pool()),
            ("contexts", contexts),
            ("scheduler", self.of_scheduler()),
            ("response_cache", vec![("memory", Some(size_value(self.response_cache.bytes_max)))]),
            ("energy", energy),
            ("carbon", self.of_carbon(written)),
            ("rates", self.of_rates()),
            ("savings", vec![("realised_per_hour", Some(self.savings.realised_per_hour.into()))]),
        ]
    }

    fn of_pool(&self) -> Values {
        let PoolOptions { busy_turn_max, residency_min, pinned_percent_max, loads_parallel_max, .. } = self.pool;
        let PagePolicy { bring_in, let_go, lock } = self.pages;
        vec![
            ("busy_turn_max", Some(span_value(busy_turn_max))),
            ("residency_min", Some(span_value(residency_min))),
            ("pinned_percent_max", Some(i64::from(pinned_percent_max).into())),
            ("loads_parallel_max", Some(count_value(loads_parallel_max))),
            ("load_wait_max", Some(span_value(self.pool.load_wait_max))),
            ("oversize", Some(word_of(self.pool.oversize).into())),
            ("bring_in", Some(word_of(bring_in).into())),
            ("let_go", Some(word_of(let_go).into())),
            ("lock", Some((lock == loader::Lock::Locked).into())),
        ]
    }

    fn of_scheduler(&self) -> Values {
        let (chosen, options) = (&self.scheduler, &self.scheduler.options);
        vec![
            ("queue_max", Some(count_value(options.queue_max))),
            ("queue_per_tenant_max", Some(count_value(options.queue_per_tenant_max))),
            ("loading_max", Some(count_value(options.loading_max))),
            ("sequences_per_model_max", Some(count_value(options.started_per_model_max))),
            ("step_tokens_max", Some(i64::from(options.step_tokens_max).into())),
            ("step_wall_max", Some(span_value(options.step_wall_max))),
            ("step_timeout", Some(span_value(options.step_timeout))),
            ("kv_precision", Some(word_of(chosen.kv_precision).into())),
            ("speculation", Some(word_of(chosen.speculation).into())),
            ("prefix_cache", Some(size_value(chosen.prefix_cache_bytes_max))),
            ("prefix_scope", Some(word_of(chosen.prefix_scope).into())),
            ("routing", Some(word_of(chosen.routing.policy).into())),
            ("routing_slack", Some(chosen.routing.slack.into())),
        ]
    }

    /// By place or by grams, as the file has it.
    fn of_carbon(&self, written: &toml::Table) -> Values {
        let written = written.get("carbon").and_then(Value::as_table);
        let said = |key: &str| written.and_then(|table| table.get(key)).cloned();
        let pue = ("pue", Some(Value::from(f64::from(self.carbon.pue_thousandths) / 1000.0)));
        match said("grams_per_kwh") {
            Some(grams) => {
                vec![("grams_per_kwh", Some(grams)), ("source", Some(self.carbon.source.as_str().into())), pue]
            }
            None => vec![("place", said("place").or_else(|| Some("World".into()))), pue],
        }
    }

    fn of_rates(&self) -> Values {
        let rates = &self.rates;
        let price = |price: Option<meter::PicoUnits>| price.map(|price| Value::from(price.units()));
        vec![
            ("name", Some(rates.name.as_str().into())),
            ("currency", Some(rates.currency.as_str().into())),
            ("cpu_hour", price(rates.cpu_hour)),
            ("memory_gb_hour", price(rates.memory_gb_hour)),
            ("kilowatt_hour", price(rates.kilowatt_hour)),
            ("prompt_token", price(rates.prompt_token)),
            ("cached_token", price(rates.cached_token)),
            ("completion_token", price(rates.completion_token)),
        ]
    }
}

pub(super) fn path_value(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

fn count_value(count: usize) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

/// In the largest unit that is exact.
pub(super) fn size_value(bytes: u64) -> Value {
    let exact = [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(bits, _)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    exact.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits)).into()
}

/// In the largest unit that is exact.
pub(super) fn span_text(span: Duration) -> String {
    let (seconds, nanos) = (span.as_secs(), span.subsec_nanos());
    match seconds {
        _ if nanos > 0 => format!("{}ms", Value::from(span.as_nanos() as f64 / 1e6)).replace(".0ms", "ms"),
        0 => "0s".to_owned(),
        _ if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        _ if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

fn span_value(span: Duration) -> Value {
    span_text(span).into()
}

fn stay_value(stay: KeepAlive) -> Value {
    match stay {
        KeepAlive::Auto => "auto".into(),
        KeepAlive::Forever => "-1".into(),
        KeepAlive::DropAfterUse => "0".into(),
        KeepAlive::For(time) => span_value(time),
    }
}
