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
CREATE TRIGGER runs_refuse_UPDATE BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER runs_refuse_DELETE BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER reservations_refuse_UPDATE BEFORE UPDATE ON reservations BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER reservations_refuse_DELETE BEFORE DELETE ON reservations BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER settlements_refuse_UPDATE BEFORE UPDATE ON settlements BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER settlements_refuse_DELETE BEFORE DELETE ON settlements BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER intervals_refuse_UPDATE BEFORE UPDATE ON intervals BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER intervals_refuse_DELETE BEFORE DELETE ON intervals BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
PRAGMA application_id = 1145133382;
PRAGMA user_version = 1;
-- rows
INSERT INTO runs (opened_unix_ms, first_reservation) VALUES
    (1700000000000, 1), (1700003500000, 4), (1700007000000, 5);
INSERT INTO reservations (run, id, tenant, model, at_ms, unix_ms) VALUES
    (1, 'r1', 'acme', 'm', 10, 1700000000100),
    (1, 'r2', 'acme', 'm', 20, 1700000000200),
    (1, 'r3', 'other', 'm', 60, 1700000000500),
    (2, 'r4', 'acme', 'm', 5, 1700003599000),
    (3, 'r5', 'acme', 'm', 6, 1700007000000);
INSERT INTO intervals (run, source_sequence, model, account, tenant, kib_ms, from_ms, to_ms, unix_ms) VALUES
    (1, 0, 'm', 'keepalive', 'acme', 10, 50, 60, 1700000001000),
    (2, 0, 'm', 'idle', NULL, 20, 9, 19, 1700003601000);
