//! Sums, from the roll-ups: whole days by the days', the rest by the hours'.

use std::collections::BTreeMap;

use meter::savings::{ModelUse, SavingsInputs, TenantUse};
use meter::{EnergyAccounts, HeldAs, KibMillis, Micrograms, Moment, Nanojoules, Nanos, PicoUnits};
use rusqlite::{Connection, Row, Transaction, params};

use super::waits::load_waits;
use super::{SavingsQuery, Since, natural};
use crate::LedgerError;
use crate::error::StoreFailure;
use crate::rollup::{Of, Span};
use crate::rows::{AccountTotal, EnergyTotal, TenantTotal};

const HOURS_PER_DAY: i64 = 24;

/// Which roll-ups count.
#[derive(Clone, Copy)]
pub(super) struct Filter<'a> {
    /// From this run on.
    pub(super) run: i64,
    /// Hours from the first to before the second, and days from the third on.
    from: [i64; 3],
    /// Those of this tenant alone, which energy never is.
    tenant: Option<&'a str>,
}

impl<'a> Filter<'a> {
    const ALL: Self = Self { run: 0, from: [0, 0, i64::MIN], tenant: None };

    /// The first hour that counts.
    pub(super) const fn first_hour(&self) -> i64 {
        let [hour, _, day] = self.from;
        if day == i64::MIN { i64::MIN } else { hour }
    }

    /// The same, of what is this tenant's.
    fn of_tenant(self, tenant: Option<&'a str>) -> Self {
        Self { tenant, ..self }
    }

    pub(super) fn of(transaction: &Transaction<'_>, since: Since) -> Result<Self, LedgerError> {
        Ok(match since {
            Since::Beginning => Self::ALL,
            Since::LatestRun => Self { run: latest_run(transaction)?, ..Self::ALL },
            Since::UnixMillis(unix_ms) => {
                let hour = Span::Hour.bucket(unix_ms);
                let day = (hour + HOURS_PER_DAY - 1).div_euclid(HOURS_PER_DAY);
                Self { from: [hour, day * HOURS_PER_DAY, day], ..Self::ALL }
            }
        })
    }
}

/// The rows of both roll-ups that a [`Filter`] leaves, as a common table expression `sums`.
fn filtered(of: Of) -> String {
    let columns: Vec<&str> = ["run"].into_iter().chain(of.names()).chain(of.columns()).collect();
    let whose = if matches!(of, Of::Energy) { "?5 IS NULL" } else { "(?5 IS NULL OR tenant = ?5)" };
    let (columns, of) = (columns.join(", "), of.name());
    format!(
        "WITH sums AS (SELECT {columns} FROM hour_{of} WHERE hour >= ?2 AND hour < ?3 AND run >= ?1 AND {whose} \
         UNION ALL SELECT {columns} FROM day_{of} WHERE day >= ?4 AND run >= ?1 AND {whose}) "
    )
}

/// Reads each row that `select` finds of `sums`.
fn query(
    connection: &Connection,
    filter: Filter<'_>,
    (of, select): (Of, &str),
    mut read: impl FnMut(&Row<'_>) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut query = connection.prepare_cached(&(filtered(of) + select))?;
    let [hour, hour_end, day] = filter.from;
    let mut rows = query.query(params![filter.run, hour, hour_end, day, filter.tenant])?;
    while let Some(row) = rows.next()? {
        read(row)?;
    }
    Ok(())
}

/// Of everything, or of what is one tenant's.
pub(super) fn savings_inputs(
    transaction: &Transaction<'_>,
    query: SavingsQuery,
    tenant: Option<&str>,
) -> Result<SavingsInputs, LedgerError> {
    let filter = Filter::of(transaction, query.since)?.of_tenant(tenant);
    let mut models: BTreeMap<String, ModelUse> = BTreeMap::new();
    let mut tenants = tenant_uses(transaction, filter)?;
    for (model, weights_bytes) in weights_bytes(transaction, filter)? {
        models.insert(model.clone(), ModelUse { model, weights_bytes, ..ModelUse::default() });
    }
    for total in accounts(transaction, filter)? {
        let (held_as, AccountTotal { model, account, kib_ms, cpu_ns, .. }) = (total.told_as(), total);
        let of_model =
            models.entry(model.clone()).or_insert_with(|| ModelUse { model: model.clone(), ..ModelUse::default() });
        match account.into_tenant() {
            None => of_model.carry(held_as, kib_ms, cpu_ns),
            Some(tenant) => {
                let key = (tenant, model);
                let of_tenant = tenants.entry(key.clone()).or_insert_with(|| TenantUse {
                    tenant: key.0,
                    model: key.1,
                    ..TenantUse::default()
                });
                of_tenant.carry(held_as, kib_ms, cpu_ns);
            }
        }
    }
    Ok(SavingsInputs {
        window_ms: window_ms(transaction, filter, query.until)?,
        process_bytes: 0,
        waits: load_waits(transaction, query.since, tenant)?,
        models: models.into_values().collect(),
        tenants: tenants.into_values().collect(),
    })
}

/// The beginning of the latest hour that has a sum.
pub(super) fn latest_unix_ms(connection: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    let hour: Option<i64> = connection.query_row("SELECT max(hour) FROM hour_requests", [], |row| row.get(0))?;
    Ok(hour.map(|hour| hour.saturating_mul(Span::Hour.millis())))
}

/// Sums of all settled requests, by tenant and model in that order.
pub(super) fn tenant_totals(connection: &Connection) -> Result<Vec<TenantTotal>, LedgerError> {
    let select = format!("SELECT {TENANT_TOTAL} FROM sums GROUP BY tenant, model ORDER BY tenant, model");
    let mut totals = Vec::new();
    query(connection, Filter::ALL, (Of::Requests, &select), |row| {
        totals.push(tenant_total(row)?);
        Ok(())
    })?;
    Ok(totals)
}

/// What [`tenant_total`] reads of rows that are grouped by tenant and model.
pub(super) const TENANT_TOTAL: &str = "tenant, model, sum(requests), sum(iif(outcome = 'completed', requests, 0)), \
     sum(cold), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(load_wait_ns), sum(wall_ns), \
     sum(cpu_ns), sum(load_cpu_ns), sum(weights_kib_ms), sum(load_kib_ms), sum(kv_kib_ms), sum(energy_nj), \
     sum(micrograms_co2e), sum(pico_units), sum(unpriced)";

/// The same of rows of keys that are grouped by key, tenant and model; the key's id stands behind it.
pub(super) const KEY_TOTAL: &str = "tenant, model, sum(requests), sum(completed), sum(cold), sum(prompt_tokens), \
     sum(cached_tokens), sum(completion_tokens), sum(load_wait_ns), sum(wall_ns), sum(cpu_ns), sum(load_cpu_ns), \
     sum(weights_kib_ms), sum(load_kib_ms), sum(kv_kib_ms), sum(energy_nj), sum(micrograms_co2e), sum(pico_units), \
     sum(unpriced), key_id";

pub(super) fn tenant_total(row: &Row<'_>) -> Result<TenantTotal, rusqlite::Error> {
    Ok(TenantTotal {
        tenant: row.get(0)?,
        model: row.get(1)?,
        requests: natural(row, 2)?,
        completed: natural(row, 3)?,
        cold: natural(row, 4)?,
        prompt_tokens: natural(row, 5)?,
        cached_tokens: natural(row, 6)?,
        completion_tokens: natural(row, 7)?,
        load_wait_ns: Nanos::new(natural(row, 8)?),
        wall_ns: Nanos::new(natural(row, 9)?),
        cpu_ns: Nanos::new(natural(row, 10)?),
        load_cpu_ns: Nanos::new(natural(row, 11)?),
        weights_kib_ms: KibMillis::new(natural(row, 12)?),
        load_kib_ms: KibMillis::new(natural(row, 13)?),
        kv_kib_ms: KibMillis::new(natural(row, 14)?),
        energy_nj: Nanojoules::new(natural(row, 15)?),
        micrograms_co2e: Micrograms::new(natural(row, 16)?),
        pico_units: PicoUnits::new(natural(row, 17)?),
        unpriced: natural(row, 18)?,
    })
}

/// What every account carried, by model.
pub(super) fn account_totals(connection: &Connection) -> Result<Vec<AccountTotal>, LedgerError> {
    accounts(connection, Filter::ALL)
}

/// In the order of models, accounts, and as what they held it.
fn accounts(connection: &Connection, filter: Filter<'_>) -> Result<Vec<AccountTotal>, LedgerError> {
    let mut totals = Vec::new();
    for of in [Of::Accounts, Of::Held] {
        let (columns, group) = account_columns(of);
        query(connection, filter, (of, &format!("SELECT {columns} FROM sums GROUP BY {group}")), |row| {
            totals.push(account_total(row, of)?);
            Ok(())
        })?;
    }
    sort_accounts(&mut totals);
    Ok(totals)
}

/// Those of before schema 5 stand among the others.
pub(super) fn sort_accounts(totals: &mut [AccountTotal]) {
    totals.sort_by(|one, two| (&one.model, &one.account, one.held_as).cmp(&(&two.model, &two.account, two.held_as)));
}

/// What [`account_total`] reads of rows of one of the two sums of accounts, and what they are grouped by.
pub(super) const fn account_columns(of: Of) -> (&'static str, &'static str) {
    match of {
        Of::Held => (
            "model, held_as, tenant, sum(kib_ms), sum(cpu_ns), sum(energy_nj), sum(micrograms_co2e), sum(pico_units), \
             sum(unpriced)",
            "model, tenant, held_as",
        ),
        _ => ("model, account, tenant, sum(kib_ms)", "model, account, tenant"),
    }
}

pub(super) fn account_total(row: &Row<'_>, of: Of) -> Result<AccountTotal, LedgerError> {
    let unknown = || LedgerError::corrupt(StoreFailure::Unexpected("a stored account is unknown"));
    let (name, tenant) = (row.get_ref(1)?.as_str().unwrap_or_default(), row.get::<_, String>(2)?);
    let tenant = Some(tenant).filter(|tenant| !tenant.is_empty());
    let held_as = HeldAs::from_name(name).ok_or_else(unknown)?;
    let (model, kib_ms) = (row.get(0)?, KibMillis::new(natural(row, 3)?));
    let of_memory = AccountTotal { kib_ms, ..AccountTotal::of(model, held_as.account(tenant)) };
    if !matches!(of, Of::Held) {
        return Ok(of_memory);
    }
    Ok(AccountTotal {
        held_as: Some(held_as),
        cpu_ns: Nanos::new(natural(row, 4)?),
        energy_nj: Nanojoules::new(natural(row, 5)?),
        micrograms_co2e: Micrograms::new(natural(row, 6)?),
        pico_units: PicoUnits::new(natural(row, 7)?),
        unpriced: natural(row, 8)?,
        ..of_memory
    })
}

/// What every device took in energy, by source.
pub(super) fn energy_totals(connection: &Connection) -> Result<Vec<EnergyTotal>, LedgerError> {
    let select = "SELECT device, source, quality, sum(energy_nj), sum(requests_nj), sum(keepalive_nj), \
                  sum(runtime_nj), sum(host_other_nj), sum(idle_nj), sum(unmeasured_nj), sum(unknown_ms) FROM sums \
                  GROUP BY device, source, quality ORDER BY device, source, quality";
    let mut totals = Vec::new();
    query(connection, Filter::ALL, (Of::Energy, select), |row| {
        let energy = |column| natural(row, column).map(Nanojoules::new);
        totals.push(EnergyTotal {
            device: row.get(0)?,
            source: row.get(1)?,
            quality: row.get(2)?,
            energy_nj: energy(3)?,
            accounts: EnergyAccounts {
                requests: energy(4)?,
                keepalive: energy(5)?,
                runtime: energy(6)?,
                host_other: energy(7)?,
                idle: energy(8)?,
                unmeasured: energy(9)?,
            },
            unknown_ms: natural(row, 10)?,
        });
        Ok(())
    })?;
    Ok(totals)
}

/// Every tenant's settled requests on every model; spans are within a run, and summed over the runs.
fn tenant_uses(
    transaction: &Transaction<'_>,
    filter: Filter<'_>,
) -> Result<BTreeMap<(String, String), TenantUse>, LedgerError> {
    let select = "SELECT tenant, model, sum(requests), sum(cold), max(last_ms) - min(first_ms), sum(weights_kib_ms), \
                  sum(load_kib_ms), sum(load_cpu_ns), sum(load_wait_ns) FROM sums GROUP BY tenant, model, run";
    let mut uses: BTreeMap<(String, String), TenantUse> = BTreeMap::new();
    query(transaction, filter, (Of::Requests, select), |row| {
        let key: (String, String) = (row.get(0)?, row.get(1)?);
        let one = uses.entry(key.clone()).or_insert_with(|| TenantUse {
            tenant: key.0,
            model: key.1,
            ..TenantUse::default()
        });
        one.requests += natural(row, 2)?;
        one.cold_requests += natural(row, 3)?;
        one.span_ms += natural(row, 4)?;
        one.active = one.active.saturating_add(KibMillis::new(natural(row, 5)?));
        one.load = one.load.saturating_add(KibMillis::new(natural(row, 6)?));
        one.load_cpu = one.load_cpu.saturating_add(Nanos::new(natural(row, 7)?));
        one.load_wait = one.load_wait.saturating_add(Nanos::new(natural(row, 8)?));
        Ok(())
    })?;
    Ok(uses)
}

/// Every model requested, with the most resident bytes of its weights on any receipt.
fn weights_bytes(transaction: &Transaction<'_>, filter: Filter<'_>) -> Result<Vec<(String, u64)>, LedgerError> {
    let select = "SELECT model, max(weights_bytes) FROM sums GROUP BY model";
    let mut sizes = Vec::new();
    query(transaction, filter, (Of::Requests, select), |row| {
        sizes.push((row.get(0)?, natural(row, 1)?));
        Ok(())
    })?;
    Ok(sizes)
}

/// The time between the first event that is recorded and the last of each run, summed over the runs. A request that is
/// not settled yet is no event.
fn window_ms(transaction: &Transaction<'_>, filter: Filter<'_>, until: Option<Moment>) -> Result<u64, LedgerError> {
    let latest = latest_run(transaction)?;
    let mut runs: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for of in [Of::Requests, Of::Accounts, Of::Held, Of::Energy] {
        query(transaction, filter, (of, "SELECT run, min(first_ms), max(last_ms) FROM sums GROUP BY run"), |row| {
            let (begins, ends) = (natural(row, 1)?, natural(row, 2)?);
            let run = runs.entry(row.get(0)?).or_insert((begins, ends));
            *run = (run.0.min(begins), run.1.max(ends));
            Ok(())
        })?;
    }
    let spans = runs.into_iter().map(|(run, (begins, ends))| {
        let until = until.filter(|_| run == latest).map_or(0, Moment::get);
        ends.max(until).saturating_sub(begins)
    });
    Ok(spans.fold(0, u64::saturating_add))
}

pub(super) fn latest_run(transaction: &Connection) -> Result<i64, rusqlite::Error> {
    transaction.query_row("SELECT coalesce(max(run), 0) FROM runs", [], |row| row.get(0))
}
