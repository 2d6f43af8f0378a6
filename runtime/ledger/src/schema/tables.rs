//! What the tables are made by.

use rusqlite::Connection;

use crate::chain::Kind;
use crate::rollup::{Of, Span};

const TABLES_1: &str = "
CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT,
    opened_unix_ms INTEGER NOT NULL,
    first_reservation INTEGER NOT NULL
) STRICT;
CREATE TABLE reservations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE settlements (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    reservation INTEGER NOT NULL UNIQUE REFERENCES reservations (sequence),
    outcome TEXT NOT NULL CHECK (outcome IN ('completed', 'cancelled', 'failed', 'crashed')),
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    cold INTEGER NOT NULL DEFAULT 0 CHECK (cold IN (0, 1)),
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    load_wait_ns INTEGER NOT NULL DEFAULT 0,
    wall_ns INTEGER NOT NULL DEFAULT 0,
    cpu_ns INTEGER NOT NULL DEFAULT 0,
    load_cpu_ns INTEGER NOT NULL DEFAULT 0,
    weights_kib_ms INTEGER NOT NULL DEFAULT 0,
    load_kib_ms INTEGER NOT NULL DEFAULT 0,
    kv_kib_ms INTEGER NOT NULL DEFAULT 0,
    weights_bytes INTEGER NOT NULL DEFAULT 0,
    energy_nj INTEGER NOT NULL DEFAULT 0,
    micrograms_co2e INTEGER NOT NULL DEFAULT 0,
    pico_units INTEGER,
    receipt TEXT
) STRICT;
CREATE TABLE intervals (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    source_sequence INTEGER NOT NULL,
    model TEXT NOT NULL,
    account TEXT NOT NULL CHECK (account IN ('keepalive', 'load', 'idle', 'unmeasured')),
    tenant TEXT,
    kib_ms INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    UNIQUE (run, source_sequence)
) STRICT;
";

/// What schema 2 adds: the chain, checkpoints, keys of repeats, roll-ups, retention.
const TABLES_2: &str = "
ALTER TABLE reservations ADD COLUMN idempotency_key TEXT;
CREATE UNIQUE INDEX reservations_idempotency ON reservations (tenant, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE TABLE chain (
    link INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    reservation INTEGER NOT NULL REFERENCES reservations (sequence),
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    receipt TEXT NOT NULL,
    UNIQUE (reservation, number)
) STRICT;
CREATE TABLE anchors (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    first_link INTEGER NOT NULL,
    last_link INTEGER NOT NULL,
    digest BLOB NOT NULL,
    previous BLOB,
    sums BLOB NOT NULL,
    runs_to INTEGER NOT NULL,
    reservations_to INTEGER NOT NULL,
    checkpoints_to INTEGER NOT NULL,
    settlements_to INTEGER NOT NULL,
    intervals_to INTEGER NOT NULL,
    migrations_to INTEGER NOT NULL,
    run INTEGER NOT NULL,
    run_opened_unix_ms INTEGER NOT NULL,
    run_first_reservation INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE migrations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    from_schema INTEGER NOT NULL,
    to_schema INTEGER NOT NULL,
    first_link INTEGER NOT NULL,
    last_link INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL
) STRICT;
";

/// What schema 3 adds: what devices took in energy, and who carries it. A row whose accounts do not sum to it is refused.
const TABLES_3: &str = "
CREATE TABLE energy_intervals (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    source_sequence INTEGER NOT NULL,
    device TEXT NOT NULL,
    source TEXT NOT NULL,
    quality TEXT NOT NULL CHECK (quality IN ('measured', 'derived', 'modelled', 'assumed')),
    energy_nj INTEGER NOT NULL,
    requests_nj INTEGER NOT NULL,
    keepalive_nj INTEGER NOT NULL,
    runtime_nj INTEGER NOT NULL,
    host_other_nj INTEGER NOT NULL,
    idle_nj INTEGER NOT NULL,
    unmeasured_nj INTEGER NOT NULL,
    unknown_ms INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    UNIQUE (run, source_sequence),
    CHECK (energy_nj = requests_nj + keepalive_nj + runtime_nj + host_other_nj + idle_nj + unmeasured_nj)
) STRICT;
ALTER TABLE anchors ADD COLUMN energy_intervals_to INTEGER;
";

/// The few requests that waited for a load, by time, so that quantiles of their waits need not look at all.
const WAITED: &str = "
CREATE INDEX settlements_waited ON settlements (unix_ms, reservation, load_wait_ns) WHERE load_wait_ns > 0;
";

/// What schema 5 adds: as what accounts hold memory, their processor time, and what both came to.
const TABLES_5: &str = "
ALTER TABLE intervals ADD COLUMN held_as TEXT;
ALTER TABLE intervals ADD COLUMN cpu_ns INTEGER;
ALTER TABLE intervals ADD COLUMN energy_nj INTEGER;
ALTER TABLE intervals ADD COLUMN micrograms_co2e INTEGER;
ALTER TABLE intervals ADD COLUMN pico_units INTEGER;
";

/// The tables of schema 1, whose rows nobody may change.
pub(super) fn create_1(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(TABLES_1)?;
    for kind in [Kind::Run, Kind::Reservation, Kind::Settlement, Kind::Interval] {
        let table = kind.table();
        for change in ["UPDATE", "DELETE"] {
            refuse(connection, table, change, "")?;
        }
    }
    Ok(())
}

/// Adds what schema 2 has to the tables of schema 1, and lets retention take what an anchor covers.
pub(super) fn raise_to_2(connection: &Connection) -> Result<(), rusqlite::Error> {
    for kind in [Kind::Run, Kind::Reservation, Kind::Settlement, Kind::Interval] {
        let table = kind.table();
        connection
            .execute_batch(&format!("DROP TRIGGER {table}_refuse_UPDATE; DROP TRIGGER {table}_refuse_DELETE;"))?;
    }
    connection.execute_batch(TABLES_2)?;
    create_sums(connection, &SUMS, &[Of::Requests, Of::Accounts])?;
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Energy) {
        let table = kind.table();
        refuse(connection, table, "UPDATE", "")?;
        let until = if kind == Kind::Anchor { "" } else { &format!("{table}_to") };
        refuse_beyond(connection, (table, kind.key()), until)?;
    }
    refuse(connection, "chain", "UPDATE", "")?;
    refuse_beyond(connection, ("chain", "link"), "last_link")?;
    for table in ["removed_requests", "removed_accounts"] {
        refuse(connection, table, "UPDATE", "")?;
        refuse(connection, table, "DELETE", "")?;
    }
    Ok(())
}

/// Adds what schema 3 has to the tables of schema 2.
pub(super) fn raise_to_3(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(TABLES_3)?;
    connection.execute_batch(WAITED)?;
    create_sums(connection, &SUMS, &[Of::Energy])?;
    let table = Kind::Energy.table();
    refuse(connection, table, "UPDATE", "")?;
    refuse_beyond(connection, (table, Kind::Energy.key()), &format!("{table}_to"))?;
    for change in ["UPDATE", "DELETE"] {
        refuse(connection, "removed_energy", change, "")?;
    }
    Ok(())
}

/// Adds what schema 4 has to the tables of schema 3: by which keys requests came, and what was used by each.
pub(super) fn raise_to_4(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch("ALTER TABLE reservations ADD COLUMN key_id TEXT;")?;
    create_sums(connection, &SUMS, &[Of::Keys])?;
    for change in ["UPDATE", "DELETE"] {
        refuse(connection, "removed_keys", change, "")?;
    }
    Ok(())
}

/// Adds what schema 5 has to the tables of schema 4, whose sums told the last size of a model and not the largest.
pub(super) fn raise_to_5(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(TABLES_5)?;
    create_sums(connection, &SUMS, &[Of::Held])?;
    for span in Span::ALL {
        largest_sizes(connection, span)?;
    }
    for change in ["UPDATE", "DELETE"] {
        refuse(connection, "removed_held", change, "")?;
    }
    Ok(())
}

/// The largest size that the rows of each sum tell, and the sums of those that retention has removed, which told their last.
fn largest_sizes(connection: &Connection, span: Span) -> Result<(), rusqlite::Error> {
    let (sums, millis, hour_millis) = (span.name(), span.millis(), Span::Hour.millis());
    connection.execute_batch(&format!(
        "WITH sizes AS (
             SELECT settlements.unix_ms, run, tenant, model, outcome, weights_bytes
             FROM settlements JOIN reservations ON reservations.sequence = settlements.reservation
             UNION ALL SELECT hour * {hour_millis}, run, tenant, model, outcome, weights_bytes FROM removed_requests
         ), largest AS (
             SELECT (unix_ms - (unix_ms % {millis} + {millis}) % {millis}) / {millis} AS bucket,
                    run, tenant, model, outcome, max(weights_bytes) AS bytes
             FROM sizes GROUP BY 1, run, tenant, model, outcome
         )
         UPDATE {sums}_requests AS sums SET weights_bytes = largest.bytes FROM largest
         WHERE largest.bucket = sums.{sums} AND largest.run = sums.run AND largest.tenant = sums.tenant
             AND largest.model = sums.model AND largest.outcome = sums.outcome"
    ))
}

/// Sums by hour and by day.
pub(super) fn create_rollups(connection: &Connection) -> Result<(), rusqlite::Error> {
    let [by_hour, by_day, _] = SUMS;
    create_sums(connection, &[by_hour, by_day], &Of::ALL)
}

/// Which sums there are: the beginnings of their tables' names, what says which rows are summed, and the same as a key.
const SUMS: [(&str, &str, &str); 3] = [
    ("hour", "hour INTEGER NOT NULL", "hour"),
    ("day", "day INTEGER NOT NULL", "day"),
    ("removed", "anchor INTEGER NOT NULL REFERENCES anchors (sequence), hour INTEGER NOT NULL", "anchor, hour"),
];

/// Tables of these sums, each of all of these. Files are held to their text, to the letter ([`crate::Reader::verify`]).
fn create_sums(connection: &Connection, sums: &[(&str, &str, &str)], all: &[Of]) -> Result<(), rusqlite::Error> {
    for (prefix, times, key) in sums {
        for of in all {
            let names = of.names();
            let texts = names.iter().map(|name| format!("{name} TEXT NOT NULL"));
            let columns =
                [(*times).to_owned(), integer("run")].into_iter().chain(texts).chain(of.columns().map(integer));
            connection.execute_batch(&format!(
                "CREATE TABLE {prefix}_{} (\n    {},\n    PRIMARY KEY ({key}, run, {})\n) STRICT, WITHOUT ROWID;",
                of.name(),
                columns.collect::<Vec<_>>().join(",\n    "),
                names.join(", ")
            ))?;
        }
    }
    Ok(())
}

fn integer(column: &str) -> String {
    format!("{column} INTEGER NOT NULL")
}

/// Refuses to delete what the latest anchor does not cover, which tells in `until` how far it does; an empty one is for
/// what no anchor ever covers.
fn refuse_beyond(connection: &Connection, (table, key): (&str, &str), until: &str) -> Result<(), rusqlite::Error> {
    if until.is_empty() {
        return refuse(connection, table, "DELETE", "");
    }
    let latest = format!("SELECT {until} FROM anchors ORDER BY sequence DESC LIMIT 1");
    refuse(connection, table, "DELETE", &format!("WHEN OLD.{key} > coalesce(({latest}), 0)"))
}

fn refuse(connection: &Connection, table: &str, change: &str, when: &str) -> Result<(), rusqlite::Error> {
    connection.execute_batch(&format!(
        "CREATE TRIGGER {table}_refuse_{change} BEFORE {change} ON {table} {when} \
         BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;"
    ))
}
