//! `dayfly usage`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat};
use clap::{Args, ValueEnum};
use ledger::{SeriesQuery, Span, TenantTotal, UsageBucket};
use meter::{Account, Nanos};
use serde_json::{Value, json};

use super::failure::Failure;
use super::flags::{Context, block_on};
use super::ledger::opened;
use super::output::{self, Column, Format, counted, figure, seconds_text, table};
use super::receipt::money;
use crate::client::Client;
use crate::config::{Config, Layer};
use crate::http::query::since;
use crate::reports::{LineItem, costs_of};

/// Show what each tenant has used of each model: requests, tokens, processor time, memory over time, energy, money
///
/// Read from the configured ledger, whether a server writes it or not; with --server, asked of that server.
#[derive(Args, Debug)]
pub(super) struct Usage {
    /// From the hour of this second since 1970, or of so long ago, such as 24h or 30d; from the beginning without it
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Tell hours or days apart, or keys; repeat it for both. What came by no key with an id has a line of its own
    #[arg(long, value_name = "WHAT")]
    by: Vec<By>,
    /// This tenant alone
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// This model alone, by its true name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The ledger's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Hour,
    Day,
    Key,
}

/// What a line is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Of {
    /// The bucket's beginning, if buckets are told apart.
    begins_unix_s: Option<i64>,
    /// Nobody for what no tenant carries.
    tenant: Option<String>,
    /// The key's id, if keys are told apart and it has one.
    key_id: Option<String>,
    model: String,
}

/// A tenant's use of a model.
#[derive(Clone, Debug, Default)]
struct Line {
    total: TenantTotal,
    /// What no request carries: memory in GB-hours, processor time, and money; none where it has no price.
    beside_gb_hours: f64,
    beside_cpu: Nanos,
    beside_cost: Option<f64>,
}

impl Usage {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let since = self.since.as_deref().map(since_ms).transpose()?;
        // Sums begin with whole hours whatever is told apart.
        let width = if self.is_by(By::Day) && !self.is_by(By::Hour) { Span::Day } else { Span::Hour };
        let config = context.config(Layer { ledger: self.ledger.clone(), ..Layer::default() })?;
        let mut buckets = match context.server() {
            Some(url) => ask(context, url, (width, since))?,
            None => read(&config, (width, since))?,
        };
        buckets.iter_mut().for_each(|bucket| self.keep_wanted(bucket));
        match context.format() {
            Format::Json => output::print_json(&json!({ "object": "list", "data": buckets })),
            Format::Text => output::print(self.text(&buckets, &config)),
        }
    }

    fn is_by(&self, by: By) -> bool {
        self.by.contains(&by)
    }

    fn keep_wanted(&self, bucket: &mut UsageBucket) {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        bucket.requests.retain(|total| is(&self.tenant, &total.tenant) && is(&self.model, &total.model));
        bucket.keys.retain(|key| is(&self.tenant, &key.total.tenant) && is(&self.model, &key.total.model));
        bucket.accounts.retain(|total| {
            let is_tenant = match &total.account {
                Account::Keepalive(tenant) => is(&self.tenant, tenant),
                _ => self.tenant.is_none(),
            };
            is_tenant && is(&self.model, &total.model)
        });
    }

    fn text(&self, buckets: &[UsageBucket], config: &Config) -> String {
        let mut columns = vec![
            Column::Left("TENANT"),
            Column::Left("MODEL"),
            Column::Right("REQUESTS"),
            Column::Right("COLD"),
            Column::Right("TOKENS IN"),
            Column::Right("CACHED"),
            Column::Right("OUT"),
            Column::Right("CPU"),
            Column::Right("GB·H"),
            Column::Right("KEPT CPU"),
            Column::Right("KEPT GB·H"),
            Column::Right("ENERGY"),
            Column::Right("COST"),
            Column::Right("KEPT COST"),
        ];
        if self.is_by(By::Key) {
            columns.insert(1, Column::Left("KEY"));
        }
        let tells_time = self.is_by(By::Hour) || self.is_by(By::Day);
        if tells_time {
            columns.insert(0, Column::Left("FROM"));
        }
        let currency = &config.rates.currency;
        let lines = self.lines(buckets, config);
        let rows = lines.iter().map(|(of, line)| {
            let mut row = line.cells(of, currency);
            if self.is_by(By::Key) {
                row.insert(1, of.key_id.clone().unwrap_or_else(|| "-".into()));
            }
            if let Some(begins) = of.begins_unix_s {
                let at = DateTime::from_timestamp(begins, 0).unwrap_or_default();
                row.insert(0, at.to_rfc3339_opts(SecondsFormat::Secs, true));
            }
            row
        });
        let mut text = table(&columns, rows);
        let unpriced: u64 = lines.values().map(|line| line.total.unpriced).sum();
        if unpriced > 0 {
            let requests = counted(unpriced, "request");
            text.push_str(&format!(
                "\n{requests} without a price: the rate card lacked one when they ran, or they crashed"
            ));
        }
        text.push_str(
            "\nRequests, and what was kept and loaded beside them, as they were metered and priced; what was kept before there \
             was a price of that, at the present one of memory.",
        );
        text
    }

    fn lines(&self, buckets: &[UsageBucket], config: &Config) -> BTreeMap<Of, Line> {
        let mut lines: BTreeMap<Of, Line> = BTreeMap::new();
        let tells_time = self.is_by(By::Hour) || self.is_by(By::Day);
        for bucket in buckets {
            let begins_unix_s = tells_time.then_some(bucket.begins_unix_s);
            let of = |tenant: Option<&str>, model: &str| Of {
                begins_unix_s,
                tenant: tenant.map(str::to_owned),
                key_id: None,
                model: model.to_owned(),
            };
            for (key_id, total) in bucket.by_key() {
                let key_id = key_id.filter(|_| self.is_by(By::Key)).map(str::to_owned);
                let of = Of { key_id, ..of(Some(&total.tenant), &total.model) };
                lines.entry(of).or_default().total.add(&total);
            }
            for total in &bucket.accounts {
                let tenant = match &total.account {
                    Account::Keepalive(tenant) => Some(tenant.as_str()),
                    _ => None,
                };
                let line = lines.entry(of(tenant, &total.model)).or_default();
                line.beside_cpu = line.beside_cpu.saturating_add(total.cpu_ns);
            }
            for one in costs_of(bucket, &config.rates).iter().filter(|one| one.item != LineItem::Requests) {
                let line = lines.entry(of(one.tenant, one.model)).or_default();
                line.beside_gb_hours += one.memory.gb_hours();
                // Of several intervals some may have had a price.
                if !one.is_incomplete || one.pico_units.get() > 0 {
                    line.beside_cost = Some(line.beside_cost.unwrap_or(0.0) + one.pico_units.units());
                }
            }
        }
        lines
    }
}

impl Line {
    fn cells(&self, Of { tenant, model, .. }: &Of, currency: &str) -> Vec<String> {
        let TenantTotal { requests, cold, prompt_tokens, cached_tokens, completion_tokens, .. } = self.total;
        let held = [self.total.weights_kib_ms, self.total.load_kib_ms, self.total.kv_kib_ms];
        let priced = requests > self.total.unpriced || requests == 0;
        vec![
            tenant.clone().unwrap_or_else(|| "(nobody)".into()),
            model.clone(),
            requests.to_string(),
            cold.to_string(),
            prompt_tokens.to_string(),
            cached_tokens.to_string(),
            completion_tokens.to_string(),
            seconds_text(self.total.cpu_ns.seconds()),
            figure(held.into_iter().sum::<meter::KibMillis>().gb_hours()),
            seconds_text(self.beside_cpu.seconds()),
            figure(self.beside_gb_hours),
            format!("{} J", figure(self.total.energy_nj.joules())),
            if priced { money(self.total.pico_units.units(), currency) } else { "unknown".into() },
            match self.beside_cost {
                Some(cost) => money(cost, currency),
                None if self.beside_gb_hours > 0.0 || self.beside_cpu > Nanos::ZERO => "unknown".into(),
                None => money(0.0, currency),
            },
        ]
    }
}

/// In milliseconds since 1970.
pub(super) fn since_ms(text: &str) -> Result<i64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let why = || anyhow::anyhow!("--since {text}: neither a second since 1970 nor how long ago, such as 24h or 30d");
    since(text, now).ok_or_else(|| Failure::Usage(why()))
}

fn read(config: &Config, (width, since): (Span, Option<i64>)) -> Result<Vec<UsageBucket>, Failure> {
    let from_unix_s = since.map_or(i64::MIN, |since| since.div_euclid(1000));
    let query = SeriesQuery { width, from_unix_s, to_unix_s: i64::MAX };
    let read = opened(&config.ledger)?.series(query);
    Ok(read.with_context(|| format!("{} cannot be read", config.ledger.display()))?)
}

fn ask(context: &Context, url: &str, (width, since): (Span, Option<i64>)) -> Result<Vec<UsageBucket>, Failure> {
    let client = Client::new(url, context.environment.api_key())?;
    let width = if width == Span::Day { "1d" } else { "1h" };
    let since = since.map_or(0, |since| since.div_euclid(1000));
    let path = format!("/v1/usage?bucket_width={width}&since={since}");
    let mut answer: Value = block_on(async { Ok(client.get(&path).await?) })?;
    Ok(serde_json::from_value(answer["data"].take()).context("the server's answer is of another version")?)
}
