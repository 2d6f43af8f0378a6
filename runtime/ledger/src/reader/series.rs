//! Sums by hour or by day, from the roll-ups of that width.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::sums::{KEY_TOTAL, TENANT_TOTAL, account_columns, account_total, sort_accounts, tenant_total};
use crate::LedgerError;
use crate::rollup::{Of, Span};
use crate::rows::{KeyTotal, UsageBucket};

/// Which hours or days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesQuery {
    /// How wide a bucket is. Buckets begin at whole hours or days of UTC.
    pub width: Span,
    /// The first bucket is the one that holds this second of the wall clock, since 1970.
    pub from_unix_s: i64,
    /// The last one is the one that holds the second before this.
    pub to_unix_s: i64,
}

impl SeriesQuery {
    /// The buckets' numbers: the first, and the one behind the last.
    fn buckets(&self) -> (i64, i64) {
        let seconds = self.width.seconds();
        (self.from_unix_s.div_euclid(seconds), self.to_unix_s.saturating_sub(1).div_euclid(seconds).saturating_add(1))
    }
}

/// Those buckets in which anything happened, in order.
pub(super) fn series(connection: &Connection, query: &SeriesQuery) -> Result<Vec<UsageBucket>, LedgerError> {
    let mut buckets: BTreeMap<i64, UsageBucket> = BTreeMap::new();
    let mut of = |number: i64, put: &mut dyn FnMut(&mut UsageBucket)| {
        let begins_unix_s = number.saturating_mul(query.width.seconds());
        put(buckets.entry(number).or_insert_with(|| UsageBucket { begins_unix_s, ..UsageBucket::default() }));
    };
    each(connection, query, (Of::Requests, TENANT_TOTAL, "tenant, model"), |number, row| {
        let total = tenant_total(row)?;
        of(number, &mut |bucket| bucket.requests.push(total.clone()));
        Ok(())
    })?;
    for accounts in [Of::Accounts, Of::Held] {
        let (columns, group) = account_columns(accounts);
        each(connection, query, (accounts, columns, group), |number, row| {
            let total = account_total(row, accounts)?;
            of(number, &mut |bucket| bucket.accounts.push(total.clone()));
            Ok(())
        })?;
    }
    each(connection, query, (Of::Keys, KEY_TOTAL, "key_id, tenant, model"), |number, row| {
        let total = KeyTotal { key_id: row.get("key_id")?, total: tenant_total(row)? };
        of(number, &mut |bucket| bucket.keys.push(total.clone()));
        Ok(())
    })?;
    buckets.values_mut().for_each(|bucket| sort_accounts(&mut bucket.accounts));
    Ok(buckets.into_values().collect())
}

/// Reads `columns` of each group of each bucket; the bucket's number stands behind them.
fn each(
    connection: &Connection,
    query: &SeriesQuery,
    (of, columns, group): (Of, &str, &str),
    mut read: impl FnMut(i64, &Row<'_>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let (width, table) = (query.width.name(), of.name());
    let sql = format!(
        "SELECT {columns}, {width} FROM {width}_{table} WHERE {width} >= ?1 AND {width} < ?2 \
         GROUP BY {width}, {group} ORDER BY {width}, {group}"
    );
    let (from, to) = query.buckets();
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![from, to])?;
    while let Some(row) = rows.next()? {
        read(row.get(width)?, row)?;
    }
    Ok(())
}
