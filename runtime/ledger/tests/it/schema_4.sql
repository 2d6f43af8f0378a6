-- A ledger as the program of schema 4 left it: two hours, the first of which retention has removed, and a second run
-- that died with a request open.

BEGIN TRANSACTION;
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
, energy_intervals_to INTEGER) STRICT;
INSERT INTO "anchors" VALUES(1,1,7,X'CDEBD442CD58544D17AC400542191E8CAEDF613CD49E5D11CDDDB7FC7D6C3612',NULL,X'BBC53E317BD902129618E79B8AA1E611EDBC67826D5EB323923D700CBB3C64C0',0,2,0,2,2,0,1,1700000000000,1,1700007200000,0);
CREATE TABLE chain (
    link INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT;
INSERT INTO "chain" VALUES(8,2,3,X'E84CD7EE7B6341230CD64EF4FC112D49022842C318C853A7BABF9E1004207DB0');
INSERT INTO "chain" VALUES(9,4,3,X'C2071946A40904B1198EBDFAE4FE2289EFCD01FB5995D3DC3484F168D1B8D27F');
INSERT INTO "chain" VALUES(10,2,4,X'86733FB312FEE33DDF266DF6208EB19C32249DC0859F4736B52E6FF25A64E76B');
INSERT INTO "chain" VALUES(11,4,4,X'A0022B27C553E9D24C5A6CD81931AA7D76E6D144229A7ABDEFA6CCB5D349B3A6');
INSERT INTO "chain" VALUES(12,2,5,X'87DEF64F058870C30170121B3DF65856DE47E47C8DEBDDFDAF11BA57AA8CAF95');
INSERT INTO "chain" VALUES(13,4,5,X'9E94DD85651C40128C803C720C98ACF6D6DDF592FD0D36C82E74A1C227D92DBF');
INSERT INTO "chain" VALUES(14,5,3,X'FF901DBF2F7DE188B3395F665C847B31E2468C8FD54DD14E2249AB2BC694C3C4');
INSERT INTO "chain" VALUES(15,5,4,X'3C1E53A90CEAD35A0333E1234D80288BDBB0CBA6AA86E32D4DE89342F85B369A');
INSERT INTO "chain" VALUES(16,8,1,X'2F236730EE2A1F21AEF1FA752DB3A79CE682A955BB72D38C2D3B8819E58C44EE');
INSERT INTO "chain" VALUES(17,6,1,X'6B8FF0428AD670E02AB127FA9BE92C13B51EAA0BF4ED5053A7722309657F7FFF');
INSERT INTO "chain" VALUES(18,1,2,X'1F80C6EC6B1C60942E51C6CFF8A97D185FCD4AC83D4461B88EEFAFFF8FE7CCC5');
INSERT INTO "chain" VALUES(19,2,6,X'A7B8F69DA78CAFC5A3EE15D3514C3FCE8D0CE845AD3D5600F2A436549E530662');
CREATE TABLE checkpoints (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    reservation INTEGER NOT NULL REFERENCES reservations (sequence),
    number INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL,
    receipt TEXT NOT NULL,
    UNIQUE (reservation, number)
) STRICT;
CREATE TABLE day_accounts (
    day INTEGER NOT NULL,
    run INTEGER NOT NULL,
    model TEXT NOT NULL,
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    intervals INTEGER NOT NULL,
    kib_ms INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (day, run, model, account, tenant)
) STRICT, WITHOUT ROWID;
INSERT INTO "day_accounts" VALUES(19675,1,'m','idle','',1,7,20,25);
INSERT INTO "day_accounts" VALUES(19675,1,'m','keepalive','acme',1,100,20,25);
INSERT INTO "day_accounts" VALUES(19676,1,'m','keepalive','acme',1,20,40,45);
INSERT INTO "day_accounts" VALUES(19676,1,'m','load','',1,3,40,45);
CREATE TABLE day_energy (
    day INTEGER NOT NULL,
    run INTEGER NOT NULL,
    device TEXT NOT NULL,
    source TEXT NOT NULL,
    quality TEXT NOT NULL,
    intervals INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    requests_nj INTEGER NOT NULL,
    keepalive_nj INTEGER NOT NULL,
    runtime_nj INTEGER NOT NULL,
    host_other_nj INTEGER NOT NULL,
    idle_nj INTEGER NOT NULL,
    unmeasured_nj INTEGER NOT NULL,
    unknown_ms INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (day, run, device, source, quality)
) STRICT, WITHOUT ROWID;
INSERT INTO "day_energy" VALUES(19676,1,'host','RAPL','measured',1,33,30,0,0,0,3,0,0,0,40);
CREATE TABLE day_keys (
    day INTEGER NOT NULL,
    run INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    load_wait_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    load_cpu_ns INTEGER NOT NULL,
    weights_kib_ms INTEGER NOT NULL,
    load_kib_ms INTEGER NOT NULL,
    kv_kib_ms INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    micrograms_co2e INTEGER NOT NULL,
    pico_units INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (day, run, key_id, tenant, model)
) STRICT, WITHOUT ROWID;
INSERT INTO "day_keys" VALUES(19675,1,'key_1','acme','m',1,1,0,12,4,7,0,1000,50000018,11,1000,30,5,138000231,18,439042,0);
CREATE TABLE day_requests (
    day INTEGER NOT NULL,
    run INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    load_wait_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    load_cpu_ns INTEGER NOT NULL,
    weights_kib_ms INTEGER NOT NULL,
    load_kib_ms INTEGER NOT NULL,
    kv_kib_ms INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    micrograms_co2e INTEGER NOT NULL,
    pico_units INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    weights_bytes INTEGER NOT NULL,
    weights_link INTEGER NOT NULL,
    PRIMARY KEY (day, run, tenant, model, outcome)
) STRICT, WITHOUT ROWID;
INSERT INTO "day_requests" VALUES(19675,1,'acme','m','completed',2,1,24,8,14,300,2000,100000036,22,2000,60,10,276000462,36,878084,0,2,13,6000,5);
INSERT INTO "day_requests" VALUES(19676,1,'acme','m','completed',2,1,24,8,14,300,2000,100000036,22,2000,60,10,276000462,36,878084,0,4,15,5000,11);
INSERT INTO "day_requests" VALUES(19676,1,'other','m','completed',1,1,12,4,7,300,1000,50000018,11,1000,30,5,138000231,18,439042,0,6,16,4000,13);
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
INSERT INTO "energy_intervals" VALUES(1,1,0,'host','RAPL','measured',33,30,0,0,0,3,0,0,0,40,1700007200000);
CREATE TABLE hour_accounts (
    hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    model TEXT NOT NULL,
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    intervals INTEGER NOT NULL,
    kib_ms INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (hour, run, model, account, tenant)
) STRICT, WITHOUT ROWID;
INSERT INTO "hour_accounts" VALUES(472222,1,'m','idle','',1,7,20,25);
INSERT INTO "hour_accounts" VALUES(472222,1,'m','keepalive','acme',1,100,20,25);
INSERT INTO "hour_accounts" VALUES(472224,1,'m','keepalive','acme',1,20,40,45);
INSERT INTO "hour_accounts" VALUES(472224,1,'m','load','',1,3,40,45);
CREATE TABLE hour_energy (
    hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    device TEXT NOT NULL,
    source TEXT NOT NULL,
    quality TEXT NOT NULL,
    intervals INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    requests_nj INTEGER NOT NULL,
    keepalive_nj INTEGER NOT NULL,
    runtime_nj INTEGER NOT NULL,
    host_other_nj INTEGER NOT NULL,
    idle_nj INTEGER NOT NULL,
    unmeasured_nj INTEGER NOT NULL,
    unknown_ms INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (hour, run, device, source, quality)
) STRICT, WITHOUT ROWID;
INSERT INTO "hour_energy" VALUES(472224,1,'host','RAPL','measured',1,33,30,0,0,0,3,0,0,0,40);
CREATE TABLE hour_keys (
    hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    load_wait_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    load_cpu_ns INTEGER NOT NULL,
    weights_kib_ms INTEGER NOT NULL,
    load_kib_ms INTEGER NOT NULL,
    kv_kib_ms INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    micrograms_co2e INTEGER NOT NULL,
    pico_units INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (hour, run, key_id, tenant, model)
) STRICT, WITHOUT ROWID;
INSERT INTO "hour_keys" VALUES(472222,1,'key_1','acme','m',1,1,0,12,4,7,0,1000,50000018,11,1000,30,5,138000231,18,439042,0);
CREATE TABLE hour_requests (
    hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    load_wait_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    load_cpu_ns INTEGER NOT NULL,
    weights_kib_ms INTEGER NOT NULL,
    load_kib_ms INTEGER NOT NULL,
    kv_kib_ms INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    micrograms_co2e INTEGER NOT NULL,
    pico_units INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    weights_bytes INTEGER NOT NULL,
    weights_link INTEGER NOT NULL,
    PRIMARY KEY (hour, run, tenant, model, outcome)
) STRICT, WITHOUT ROWID;
INSERT INTO "hour_requests" VALUES(472222,1,'acme','m','completed',2,1,24,8,14,300,2000,100000036,22,2000,60,10,276000462,36,878084,0,2,13,6000,5);
INSERT INTO "hour_requests" VALUES(472224,1,'acme','m','completed',2,1,24,8,14,300,2000,100000036,22,2000,60,10,276000462,36,878084,0,4,15,5000,11);
INSERT INTO "hour_requests" VALUES(472224,1,'other','m','completed',1,1,12,4,7,300,1000,50000018,11,1000,30,5,138000231,18,439042,0,6,16,4000,13);
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
INSERT INTO "intervals" VALUES(3,1,2,'m','keepalive','acme',20,40,45,1700007200000);
INSERT INTO "intervals" VALUES(4,1,3,'m','load',NULL,3,40,45,1700007200000);
CREATE TABLE migrations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    from_schema INTEGER NOT NULL,
    to_schema INTEGER NOT NULL,
    first_link INTEGER NOT NULL,
    last_link INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE removed_accounts (
    anchor INTEGER NOT NULL REFERENCES anchors (sequence), hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    model TEXT NOT NULL,
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    intervals INTEGER NOT NULL,
    kib_ms INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (anchor, hour, run, model, account, tenant)
) STRICT, WITHOUT ROWID;
INSERT INTO "removed_accounts" VALUES(1,472222,1,'m','idle','',1,7,20,25);
INSERT INTO "removed_accounts" VALUES(1,472222,1,'m','keepalive','acme',1,100,20,25);
CREATE TABLE removed_energy (
    anchor INTEGER NOT NULL REFERENCES anchors (sequence), hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    device TEXT NOT NULL,
    source TEXT NOT NULL,
    quality TEXT NOT NULL,
    intervals INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    requests_nj INTEGER NOT NULL,
    keepalive_nj INTEGER NOT NULL,
    runtime_nj INTEGER NOT NULL,
    host_other_nj INTEGER NOT NULL,
    idle_nj INTEGER NOT NULL,
    unmeasured_nj INTEGER NOT NULL,
    unknown_ms INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (anchor, hour, run, device, source, quality)
) STRICT, WITHOUT ROWID;
CREATE TABLE removed_keys (
    anchor INTEGER NOT NULL REFERENCES anchors (sequence), hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    load_wait_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    load_cpu_ns INTEGER NOT NULL,
    weights_kib_ms INTEGER NOT NULL,
    load_kib_ms INTEGER NOT NULL,
    kv_kib_ms INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    micrograms_co2e INTEGER NOT NULL,
    pico_units INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (anchor, hour, run, key_id, tenant, model)
) STRICT, WITHOUT ROWID;
INSERT INTO "removed_keys" VALUES(1,472222,1,'key_1','acme','m',1,1,0,12,4,7,0,1000,50000018,11,1000,30,5,138000231,18,439042,0);
CREATE TABLE removed_requests (
    anchor INTEGER NOT NULL REFERENCES anchors (sequence), hour INTEGER NOT NULL,
    run INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    cold INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    load_wait_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    cpu_ns INTEGER NOT NULL,
    load_cpu_ns INTEGER NOT NULL,
    weights_kib_ms INTEGER NOT NULL,
    load_kib_ms INTEGER NOT NULL,
    kv_kib_ms INTEGER NOT NULL,
    energy_nj INTEGER NOT NULL,
    micrograms_co2e INTEGER NOT NULL,
    pico_units INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    weights_bytes INTEGER NOT NULL,
    weights_link INTEGER NOT NULL,
    PRIMARY KEY (anchor, hour, run, tenant, model, outcome)
) STRICT, WITHOUT ROWID;
INSERT INTO "removed_requests" VALUES(1,472222,1,'acme','m','completed',2,1,24,8,14,300,2000,100000036,22,2000,60,10,276000462,36,878084,0,2,13,6000,5);
CREATE TABLE reservations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (run),
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    unix_ms INTEGER NOT NULL
, idempotency_key TEXT, key_id TEXT) STRICT;
INSERT INTO "reservations" VALUES(3,1,'r3','acme','m',4,1700007200000,NULL,NULL);
INSERT INTO "reservations" VALUES(4,1,'r4','acme','m',5,1700007200000,NULL,NULL);
INSERT INTO "reservations" VALUES(5,1,'r5','other','m',6,1700007200000,NULL,NULL);
INSERT INTO "reservations" VALUES(6,2,'r6','acme','m',1,1700007200000,'again',NULL);
CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT,
    opened_unix_ms INTEGER NOT NULL,
    first_reservation INTEGER NOT NULL
) STRICT;
INSERT INTO "runs" VALUES(1,1700000000000,1);
INSERT INTO "runs" VALUES(2,1700007200000,6);
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
INSERT INTO "settlements" VALUES(3,3,'completed',14,1700007200000,1,12,4,7,300,1000,50000018,11,1000,30,5,8000,138000231,18,439042,'{"id":"r3","tenant":"acme","model":"m","cold":true,"outcome":"completed","tokens":{"prompt":12,"cached":4,"completion":7,"total":19},"times":{"queue_ns":0,"load_wait_ns":300,"prefill_ns":0,"decode_ns":0,"stall_ns":0,"other_ns":700,"wall_ns":1000,"quality":"measured"},"cpu":{"prefill_ns":50000000,"decode_ns":7,"load_ns":11,"total_ns":50000018,"quality":"measured"},"memory":{"weights_kib_ms":1000,"load_kib_ms":30,"kv_kib_ms":5,"byte_seconds":1059.84,"weights_bytes":8000,"quality":"measured"},"energy":{"joules":0.138000231,"total_nj":138000231,"active_nj":138000019,"load_nj":35,"residency_nj":177,"source":"W-per-vCPU model (Cloud Carbon Footprint, unknown processor: 0.74 to 3.5 W)","quality":"modelled","scope":"host at the wall: processor, memory and the rest of the machine","relative_uncertainty":0.5},"carbon":{"grams_co2e":0.000018,"micrograms_co2e":18,"intensity_grams_per_kwh":475,"intensity_source":"World, mean of 2023 (CodeCarbon), location-based","intensity_quality":"assumed","pue":1.0,"quality":"modelled"},"cost":{"amount":4.39042e-7,"pico_units":439042,"currency":"USD","rate_card":"OpenCost defaults","parts":[{"resource":"cpu","pico_units":439041},{"resource":"memory","pico_units":1}],"missing":[]},"method":{"answered_from":"model","steps":"whole_step","notes":["whole step: one sequence per batch","weights: what of their files the kernel says is in memory, split equally over active tenants, then over each tenant''s requests"]}}');
INSERT INTO "settlements" VALUES(4,4,'completed',15,1700007200000,0,12,4,7,0,1000,50000018,11,1000,30,5,5000,138000231,18,439042,'{"id":"r4","tenant":"acme","model":"m","cold":false,"outcome":"completed","tokens":{"prompt":12,"cached":4,"completion":7,"total":19},"times":{"queue_ns":0,"load_wait_ns":0,"prefill_ns":0,"decode_ns":0,"stall_ns":0,"other_ns":1000,"wall_ns":1000,"quality":"measured"},"cpu":{"prefill_ns":50000000,"decode_ns":7,"load_ns":11,"total_ns":50000018,"quality":"measured"},"memory":{"weights_kib_ms":1000,"load_kib_ms":30,"kv_kib_ms":5,"byte_seconds":1059.84,"weights_bytes":5000,"quality":"measured"},"energy":{"joules":0.138000231,"total_nj":138000231,"active_nj":138000019,"load_nj":35,"residency_nj":177,"source":"W-per-vCPU model (Cloud Carbon Footprint, unknown processor: 0.74 to 3.5 W)","quality":"modelled","scope":"host at the wall: processor, memory and the rest of the machine","relative_uncertainty":0.5},"carbon":{"grams_co2e":0.000018,"micrograms_co2e":18,"intensity_grams_per_kwh":475,"intensity_source":"World, mean of 2023 (CodeCarbon), location-based","intensity_quality":"assumed","pue":1.0,"quality":"modelled"},"cost":{"amount":4.39042e-7,"pico_units":439042,"currency":"USD","rate_card":"OpenCost defaults","parts":[{"resource":"cpu","pico_units":439041},{"resource":"memory","pico_units":1}],"missing":[]},"method":{"answered_from":"model","steps":"whole_step","notes":["whole step: one sequence per batch","weights: what of their files the kernel says is in memory, split equally over active tenants, then over each tenant''s requests"]}}');
INSERT INTO "settlements" VALUES(5,5,'completed',16,1700007200000,1,12,4,7,300,1000,50000018,11,1000,30,5,4000,138000231,18,439042,'{"id":"r5","tenant":"other","model":"m","cold":true,"outcome":"completed","tokens":{"prompt":12,"cached":4,"completion":7,"total":19},"times":{"queue_ns":0,"load_wait_ns":300,"prefill_ns":0,"decode_ns":0,"stall_ns":0,"other_ns":700,"wall_ns":1000,"quality":"measured"},"cpu":{"prefill_ns":50000000,"decode_ns":7,"load_ns":11,"total_ns":50000018,"quality":"measured"},"memory":{"weights_kib_ms":1000,"load_kib_ms":30,"kv_kib_ms":5,"byte_seconds":1059.84,"weights_bytes":4000,"quality":"measured"},"energy":{"joules":0.138000231,"total_nj":138000231,"active_nj":138000019,"load_nj":35,"residency_nj":177,"source":"W-per-vCPU model (Cloud Carbon Footprint, unknown processor: 0.74 to 3.5 W)","quality":"modelled","scope":"host at the wall: processor, memory and the rest of the machine","relative_uncertainty":0.5},"carbon":{"grams_co2e":0.000018,"micrograms_co2e":18,"intensity_grams_per_kwh":475,"intensity_source":"World, mean of 2023 (CodeCarbon), location-based","intensity_quality":"assumed","pue":1.0,"quality":"modelled"},"cost":{"amount":4.39042e-7,"pico_units":439042,"currency":"USD","rate_card":"OpenCost defaults","parts":[{"resource":"cpu","pico_units":439041},{"resource":"memory","pico_units":1}],"missing":[]},"method":{"answered_from":"model","steps":"whole_step","notes":["whole step: one sequence per batch","weights: what of their files the kernel says is in memory, split equally over active tenants, then over each tenant''s requests"]}}');
CREATE UNIQUE INDEX reservations_idempotency ON reservations (tenant, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE TRIGGER runs_refuse_UPDATE BEFORE UPDATE ON runs  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER runs_refuse_DELETE BEFORE DELETE ON runs WHEN OLD.run > coalesce((SELECT runs_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER reservations_refuse_UPDATE BEFORE UPDATE ON reservations  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER reservations_refuse_DELETE BEFORE DELETE ON reservations WHEN OLD.sequence > coalesce((SELECT reservations_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER checkpoints_refuse_UPDATE BEFORE UPDATE ON checkpoints  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER checkpoints_refuse_DELETE BEFORE DELETE ON checkpoints WHEN OLD.sequence > coalesce((SELECT checkpoints_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER settlements_refuse_UPDATE BEFORE UPDATE ON settlements  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER settlements_refuse_DELETE BEFORE DELETE ON settlements WHEN OLD.sequence > coalesce((SELECT settlements_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER intervals_refuse_UPDATE BEFORE UPDATE ON intervals  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER intervals_refuse_DELETE BEFORE DELETE ON intervals WHEN OLD.sequence > coalesce((SELECT intervals_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER anchors_refuse_UPDATE BEFORE UPDATE ON anchors  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER anchors_refuse_DELETE BEFORE DELETE ON anchors  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER migrations_refuse_UPDATE BEFORE UPDATE ON migrations  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER migrations_refuse_DELETE BEFORE DELETE ON migrations WHEN OLD.sequence > coalesce((SELECT migrations_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER chain_refuse_UPDATE BEFORE UPDATE ON chain  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER chain_refuse_DELETE BEFORE DELETE ON chain WHEN OLD.link > coalesce((SELECT last_link FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_requests_refuse_UPDATE BEFORE UPDATE ON removed_requests  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_requests_refuse_DELETE BEFORE DELETE ON removed_requests  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_accounts_refuse_UPDATE BEFORE UPDATE ON removed_accounts  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_accounts_refuse_DELETE BEFORE DELETE ON removed_accounts  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE INDEX settlements_waited ON settlements (unix_ms, reservation, load_wait_ns) WHERE load_wait_ns > 0;
CREATE TRIGGER energy_intervals_refuse_UPDATE BEFORE UPDATE ON energy_intervals  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER energy_intervals_refuse_DELETE BEFORE DELETE ON energy_intervals WHEN OLD.sequence > coalesce((SELECT energy_intervals_to FROM anchors ORDER BY sequence DESC LIMIT 1), 0) BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_energy_refuse_UPDATE BEFORE UPDATE ON removed_energy  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_energy_refuse_DELETE BEFORE DELETE ON removed_energy  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_keys_refuse_UPDATE BEFORE UPDATE ON removed_keys  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
CREATE TRIGGER removed_keys_refuse_DELETE BEFORE DELETE ON removed_keys  BEGIN SELECT RAISE(ABORT, 'rows of a ledger are never changed'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',2);
INSERT INTO "sqlite_sequence" VALUES('reservations',6);
INSERT INTO "sqlite_sequence" VALUES('settlements',5);
INSERT INTO "sqlite_sequence" VALUES('intervals',4);
INSERT INTO "sqlite_sequence" VALUES('energy_intervals',1);
INSERT INTO "sqlite_sequence" VALUES('anchors',1);
COMMIT;
PRAGMA application_id = 1145133382;
PRAGMA user_version = 4;
