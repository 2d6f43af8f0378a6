//! OpenAI's reports: `GET /v1/organization/usage/completions` and `GET /v1/organization/costs`. Tenants are its projects.
//!
//! Deliberately absent: buckets of a minute (sums are kept by hour and day), and what is grouped or filtered by what is not
//! kept (users, batches, service tiers), which is refused by name. What came by no key with an id has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{RawQuery, State};
use ledger::{SeriesQuery, Span, TenantTotal, UsageBucket};
use meter::PicoUnits;
use serde_json::{Value, json};

use super::error::ApiError;
use super::query::Query;
use super::usage::read_ledger;
use crate::app::App;
use crate::reports::{CostLine, costs_of};
use crate::tenancy::Access;

/// What a page's name begins with; behind it is the second at which the page begins.
const PAGE: &str = "page_";

/// Which buckets, whose, and what they are told apart by.
struct Asked {
    width: Span,
    from: i64,
    to: i64,
    limit: u32,
    tenants: Vec<String>,
    models: Vec<String>,
    keys: Vec<String>,
    by: Vec<By>,
}

/// What results are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Project,
    Model,
    Key,
    LineItem,
}

/// What a result is of, as far as it is told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Of<'a> {
    project: Option<&'a str>,
    model: Option<&'a str>,
    key: Option<&'a str>,
    line_item: Option<&'static str>,
}

/// `GET /v1/organization/usage/completions`
pub(super) async fn completions(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    query: RawQuery,
) -> Result<Json<Value>, ApiError> {
    let mut query = Query::parse(query)?;
    let width = query.word("bucket_width", &[("1h", Span::Hour), ("1d", Span::Day)])?.unwrap_or(Span::Day);
    let by = groups(&mut query, &[("project_id", By::Project), ("model", By::Model), ("api_key_id", By::Key)])?;
    let (models, keys) = (query.all("models"), query.all("api_key_ids"));
    let (usual, most) = match width {
        Span::Hour => (24, 168),
        Span::Day => (7, 31),
    };
    let asked = Asked { models, keys, ..Asked::parse(query, width, by, (usual, most))? };
    page(&app, &access, asked, |asked, bucket, access| {
        let mut results: BTreeMap<Of<'_>, TenantTotal> = BTreeMap::new();
        let by_key = bucket.by_key();
        for (key, total) in by_key.iter().filter(|(key, total)| access.sees(&total.tenant) && asked.wants(*key, total))
        {
            let of =
                Of { key: key.filter(|_| asked.by.contains(&By::Key)), ..asked.of(Some(&total.tenant), &total.model) };
            results.entry(of).or_default().add(total);
        }
        results.into_iter().map(|(of, total)| completions_result(&of, &total)).collect()
    })
    .await
}

/// `GET /v1/organization/costs`
pub(super) async fn costs(
    State(app): State<Arc<App>>,
    Extension(access): Extension<Arc<Access>>,
    query: RawQuery,
) -> Result<Json<Value>, ApiError> {
    let mut query = Query::parse(query)?;
    let width = query.word("bucket_width", &[("1d", Span::Day)])?.unwrap_or(Span::Day);
    let by = groups(&mut query, &[("project_id", By::Project), ("line_item", By::LineItem)])?;
    let asked = Asked::parse(query, width, by, (7, 180))?;
    let rates = app.metering.prices_of(0).rates;
    page(&app, &access, asked, move |asked, bucket, access| {
        let mut results: BTreeMap<Of<'_>, (PicoUnits, bool)> = BTreeMap::new();
        for line in costs_of(bucket, &rates).iter().filter(|line| asked.wants_line(line, access)) {
            let line_item = asked.by.contains(&By::LineItem).then(|| line.item.name());
            let of = Of { line_item, ..asked.of(line.tenant, line.model) };
            let (sum, is_incomplete) = results.entry(of).or_default();
            *sum = sum.saturating_add(line.pico_units);
            *is_incomplete |= line.is_incomplete;
        }
        let currency = rates.currency.to_ascii_lowercase();
        let results = results.into_iter().map(|(of, (sum, is_incomplete))| {
            json!({
                "object": "organization.costs.result",
                // What has no price is no money, and not 0.
                "amount": { "value": (!is_incomplete).then(|| sum.units()), "currency": currency },
                "line_item": of.line_item,
                "project_id": of.project,
            })
        });
        results.collect()
    })
    .await
}

/// What `group_by` says.
fn groups(query: &mut Query, known: &[(&str, By)]) -> Result<Vec<By>, ApiError> {
    let read = |name: String| match known.iter().find(|(word, _)| *word == name) {
        Some((_, by)) => Ok(*by),
        None => {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            Err(ApiError::invalid_value("group_by", format!("only {} are kept apart", names.join(", "))))
        }
    };
    query.all("group_by").into_iter().map(read).collect()
}

impl Asked {
    /// Takes what both reports have, and refuses what is left.
    fn parse(mut query: Query, width: Span, by: Vec<By>, (usual, most): (u32, u32)) -> Result<Self, ApiError> {
        const SECOND: &str = "a second since 1970";
        let start: Option<i64> = query.parsed("start_time", SECOND)?;
        let start = start.ok_or_else(|| ApiError::missing_field("start_time"))?;
        let end: Option<i64> = query.parsed("end_time", SECOND)?;
        let limit: Option<u32> = query.parsed("limit", "a number of buckets")?;
        let page = query.one("page")?;
        let tenants = query.all("project_ids");
        query.finish()?;
        let limit = limit.unwrap_or(usual);
        if limit == 0 || limit > most {
            return Err(ApiError::invalid_value("limit", format!("it is not between 1 and {most}")));
        }
        let wrong_page = || ApiError::invalid_value("page", "there is no such page");
        let from = match page {
            Some(page) => page.strip_prefix(PAGE).and_then(|at| at.parse().ok()).ok_or_else(wrong_page)?,
            None => start,
        };
        let to = end.unwrap_or_else(|| now_unix_s().saturating_add(1));
        if to <= start {
            return Err(ApiError::invalid_value("end_time", "it is not after start_time"));
        }
        Ok(Self { width, from, to, limit, tenants, models: Vec::new(), keys: Vec::new(), by })
    }

    /// The beginnings of the page's buckets, and of the next page if there is one.
    fn buckets(&self) -> (Vec<i64>, Option<i64>) {
        let seconds = self.width.seconds();
        let first = self.from.div_euclid(seconds).saturating_mul(seconds);
        let begins = |number: u32| first.saturating_add(seconds.saturating_mul(i64::from(number)));
        let all: Vec<i64> = (0..self.limit).map(begins).take_while(|begins| *begins < self.to).collect();
        let next = begins(self.limit);
        (all, (next < self.to).then_some(next))
    }

    fn wants(&self, key: Option<&str>, total: &TenantTotal) -> bool {
        let is_wanted =
            |list: &[String], name: Option<&str>| list.is_empty() || list.iter().any(|one| Some(one.as_str()) == name);
        is_wanted(&self.tenants, Some(&total.tenant))
            && is_wanted(&self.models, Some(&total.model))
            && is_wanted(&self.keys, key)
    }

    fn wants_line(&self, line: &CostLine<'_>, access: &Access) -> bool {
        let is_wanted = |tenant: &str| self.tenants.is_empty() || self.tenants.iter().any(|one| one == tenant);
        match line.tenant {
            Some(tenant) => access.sees(tenant) && is_wanted(tenant),
            None => access.sees_all() && self.tenants.is_empty(),
        }
    }

    /// What all reports can be told apart by.
    fn of<'a>(&self, project: Option<&'a str>, model: &'a str) -> Of<'a> {
        let is_by = |by: By| self.by.contains(&by);
        let (project, model) = (project.filter(|_| is_by(By::Project)), is_by(By::Model).then_some(model));
        Of { project, model, ..Of::default() }
    }
}

/// OpenAI's page of buckets, whose results `tell` makes.
async fn page(
    app: &Arc<App>,
    access: &Access,
    asked: Asked,
    tell: impl Fn(&Asked, &UsageBucket, &Access) -> Vec<Value>,
) -> Result<Json<Value>, ApiError> {
    let (begins, next) = asked.buckets();
    let from_unix_s = begins.first().copied().unwrap_or(asked.from);
    let to_unix_s = begins.last().map_or(from_unix_s, |last| last.saturating_add(asked.width.seconds()));
    let query = SeriesQuery { width: asked.width, from_unix_s, to_unix_s };
    let found = read_ledger(app, move |reader| reader.series(query)).await?;
    let mut found = found.into_iter().peekable();
    let buckets = begins.into_iter().map(|begins| {
        let bucket = found.next_if(|bucket| bucket.begins_unix_s == begins);
        let results = bucket.map(|bucket| tell(&asked, &bucket, access)).unwrap_or_default();
        let end = begins.saturating_add(asked.width.seconds()).min(asked.to);
        json!({ "object": "bucket", "start_time": begins, "end_time": end, "results": results })
    });
    let data: Vec<Value> = buckets.collect();
    let next_page = next.map(|at| format!("{PAGE}{at}"));
    Ok(Json(json!({ "object": "page", "data": data, "has_more": next_page.is_some(), "next_page": next_page })))
}

fn completions_result(of: &Of<'_>, total: &TenantTotal) -> Value {
    json!({
        "object": "organization.usage.completions.result",
        "input_tokens": total.prompt_tokens,
        "output_tokens": total.completion_tokens,
        "input_cached_tokens": total.cached_tokens,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": total.requests,
        "project_id": of.project,
        "user_id": null,
        "api_key_id": of.key,
        "model": of.model,
        "batch": null,
        "service_tier": null,
    })
}

fn now_unix_s() -> i64 {
    super::usage::now_unix_ms().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Asked, ApiError> {
        let query = Query::parse(RawQuery(Some(text.into()))).unwrap();
        Asked::parse(query, Span::Day, Vec::new(), (7, 31))
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        const DAY: i64 = 86_400;
        let text = format!("start_time={}&end_time={}&limit=2", DAY + 5, 4 * DAY);
        let first = asked(&text).unwrap();
        assert_eq!(first.buckets(), (vec![DAY, 2 * DAY], Some(3 * DAY)));
        let second = asked(&format!("{text}&page=page_{}", 3 * DAY)).unwrap();
        assert_eq!(second.buckets(), (vec![3 * DAY], None));
        let empty = asked(&format!("{text}&page=page_{}", 9 * DAY)).unwrap();
        assert_eq!(empty.buckets(), (vec![], None));
        let most = asked(&format!("start_time={}&end_time={}", i64::MIN, i64::MAX)).unwrap();
        assert_eq!(most.buckets().0.len(), 7, "no overflow");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, param) in [
            ("", "start_time"),
            ("start_time=x", "start_time"),
            ("start_time=5&end_time=5", "end_time"),
            ("start_time=5&limit=0", "limit"),
            ("start_time=5&limit=32", "limit"),
            ("start_time=5&page=7", "page"),
            ("start_time=5&user_ids=u", "user_ids"),
        ] {
            let refused = asked(text).map(|_| ()).unwrap_err().envelope();
            assert_eq!(refused["error"]["param"], param, "{text}");
        }
    }
}
