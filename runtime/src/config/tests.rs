use std::time::Duration;

use meter::energy::Quality;

use loader::{BringIn, LetGo, Lock};

use super::*;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn folders() -> Folders {
    Folders {
        data: "/data/dayfly".into(),
        state: "/state/dayfly".into(),
        cache: "/cache/dayfly".into(),
        config: "/config/dayfly".into(),
    }
}

fn machine() -> Machine {
    Machine { memory_bytes: 8 << 30, threads: NonZeroUsize::new(4).unwrap() }
}

fn of(flags: &str, variables: &[(&str, &str)], file: &str) -> Result<Config, ConfigError> {
    let layer = |text: &str| toml::from_str::<Layer>(text).unwrap();
    let layers = [layer(flags), environment(variables).layer()?, layer(file)];
    Config::of(layers, &folders(), &machine())
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
    let file = "threads = 1\nctx_max = 10\nmemory_budget = '1GiB'\nkeep_alive = '1s'\nmodels_dirs = ['/file']";
    let variables = [("DAYFLY_THREADS", "2"), ("DAYFLY_CTX_MAX", "20"), ("DAYFLY_MEMORY_BUDGET", "700MiB")];
    let config = of("threads = 3", &variables, file).unwrap();
    assert_eq!(config.threads.get(), 3);
    assert_eq!(config.context_max, Some(20));
    assert_eq!(config.devices[0].memory_bytes, 700 << 20);
    assert_eq!(config.pool.keep_alive_default, KeepAlive::For(Duration::from_secs(1)));
    assert_eq!(config.models_dirs, [PathBuf::from("/file")]);
    assert_eq!(config.listen, LISTEN_DEFAULT);
}

#[test]
fn the_defaults_are_the_machines() {
    let config = of("", &[], "").unwrap();
    assert_eq!(config.models_dirs, [PathBuf::from("/data/dayfly/models")]);
    assert_eq!(config.ledger, PathBuf::from("/state/dayfly/ledger.sqlite"));
    assert_eq!(config.descriptors_dir, PathBuf::from("/cache/dayfly/descriptors"));
    assert_eq!(config.devices[0].memory_bytes, (8_u64 << 30) * 80 / 100 / (1 << 20) * (1 << 20));
    assert_eq!(config.threads.get(), 4);
    assert_eq!(config.isa, Isa::detect());
    assert_eq!(config.pool.keep_alive_default, KeepAlive::For(Duration::from_secs(300)));
    assert_eq!((config.links, config.pull), (LinkPolicy::Confined, PullPolicy::OnFirstUse));
    assert_eq!(config.context_max, None);
    assert_eq!(config.rates, RateCard::default());
    assert_eq!(config.carbon, CarbonFactors::default());
}

#[test]
fn how_models_share_the_memory_can_be_chosen() {
    let file = "keep_alive = '1m'\n[aliases]\nshort = 'Long.Q4_0'\n[pool]\nbusy_turn_max = '10s'\nresidency_min = '500ms'\n\
                pinned_percent_max = 50\nbring_in = 'lazy'\nlet_go = 'dont-need'\nlock = true\n[models.short]\nkeep_alive = '1h'\npinned = true\n[models.other]\npinned = false";
    let config = of("", &[], file).unwrap();
    let expected = PoolOptions {
        keep_alive_default: KeepAlive::For(Duration::from_secs(60)),
        busy_turn_max: Duration::from_secs(10),
        residency_min: Duration::from_millis(500),
        pinned_percent_max: 50,
        prices: config.pool.prices,
        ..PoolOptions::default()
    };
    assert_eq!(config.pool, expected);
    assert_eq!(config.pages, PagePolicy { bring_in: BringIn::Lazy, let_go: LetGo::DontNeed, lock: Lock::Locked });
    assert_eq!(config.models.pinned, ["Long.Q4_0"]);
    assert_eq!(config.models.keep_alives["Long.Q4_0"], KeepAlive::For(Duration::from_secs(3600)));
    assert_eq!(config.models.keep_alives.len(), 1);
    // An alias of a name that a model is pulled by is one of that model.
    let aliases = of("", &[], "[aliases]\nsmall = 'gemma3-270m'").unwrap().aliases;
    assert_eq!(aliases["small"], aliases["gemma3-270m"]);

    for (text, word) in [
        ("[pool]\npinned_percent_max = 101", "pinned_percent_max"),
        ("[pool]\nloads_parallel_max = 0", "loads_parallel_max"),
        ("[pool]\nload_wait_max = '0s'", "load_wait_max"),
        ("[pool]\nlock = true\noversize = 'page'", "lock or oversize"),
        ("[aliases]\na = 'm'\n[models.a]\n[models.m]", "already"),
    ] {
        let error = of("", &[], text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    for text in ["[pool]\nbusy = '1s'", "[models.m]\nkeepalive = '1s'", "[pool]\nresidency_min = '-1s'"] {
        assert!(toml::from_str::<Layer>(text).is_err(), "{text}");
    }
}

#[test]
fn lists_come_whole_from_one_source() {
    let config = of("", &[("DAYFLY_HOSTS", "a.example, b.example"), ("DAYFLY_PULL", "never")], "hosts = ['c.example']");
    let config = config.unwrap();
    assert_eq!(config.hosts, ["a.example", "b.example"]);
    assert_eq!(config.pull, PullPolicy::Never);
    let paths = std::env::join_paths(["/a", "/b"]).unwrap();
    let config = of("", &[("DAYFLY_MODELS_DIRS", paths.to_str().unwrap())], "models_dirs = ['/c']").unwrap();
    assert_eq!(config.models_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
}

#[test]
fn unknown_keys_of_the_file_are_refused_wherever_they_stand() {
    for text in ["listne = '127.0.0.1:1'", "[rates]\ncpu = 1.0", "[carbon]\nplaec = 'DE'", "[[keys]]\nname = 'a'"] {
        let error = toml::from_str::<Layer>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{text}: {error}");
    }
}

#[test]
fn unknown_variables_are_told_and_empty_ones_are_unset() {
    let variables = [("DAYFLY_LSTEN", "x"), ("DAYFLY_THREADS", ""), ("PATH", "/bin"), ("NO_COLOR", "")];
    let environment = environment(&variables);
    assert_eq!(environment.unknown().collect::<Vec<_>>(), ["DAYFLY_LSTEN"]);
    assert!(environment.layer().unwrap().threads.is_none());
    assert!(!environment.no_color());
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [("DAYFLY_THREADS", "0"), ("DAYFLY_LISTEN", "8787"), ("DAYFLY_LINKS", "yes")] {
        match of("", &[(name, value)], "") {
            Err(ConfigError::Variable { name: named, .. }) => assert_eq!(named, name),
            other => panic!("{name}={value}: {other:?}"),
        }
    }
}

#[test]
fn beyond_this_machine_keys_are_needed() {
    for listen in ["0.0.0.0:1", "192.0.2.7:1", "[::]:1", "[::ffff:192.0.2.7]:1"] {
        let flags = format!("listen = '{listen}'");
        assert!(
            matches!(
                of(&flags, &[], "").unwrap().check_strangers(StoredKeys::None),
                Err(ConfigError::KeysNeeded { .. })
            ),
            "{listen}"
        );
        let file = format!("[[keys]]\ntenant = 'acme'\nsha256 = '{HASH}'");
        let config = of(&flags, &[], &file).unwrap();
        assert_eq!(config.keys[0].tenant, "acme");
        assert_eq!((config.keys[0].sha256[0], config.keys[0].sha256[31]), (0x9f, 0x08));
        assert!(config.check_strangers(StoredKeys::None).is_ok());
        for (file, stored) in [("", StoredKeys::Some), ("anonymous = 'served'", StoredKeys::None)] {
            assert!(of(&flags, &[], file).unwrap().check_strangers(stored).is_ok(), "{listen} {file}");
        }
    }
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let config = of(&format!("listen = '{listen}'"), &[], "").unwrap();
        assert!(config.check_strangers(StoredKeys::None).is_ok(), "{listen}");
    }
}

#[test]
fn keys_that_cannot_be_told_apart_are_refused() {
    let key = |tenant: &str, sha256: &str| format!("[[keys]]\ntenant = {tenant:?}\nsha256 = '{sha256}'\n");
    let named = |id: &str, sha256: &str| format!("{}id = '{id}'\n", key("a", sha256));
    let upper = HASH.to_uppercase();
    let long = "t".repeat(129);
    let wrong = [
        key("a", HASH) + &key("b", HASH),
        key("a", HASH) + &key("b", &upper),
        key("", HASH),
        key("a", "abc"),
        key("a", &HASH.replace('9', "g")),
        key(&long, HASH),
        named(" ", HASH),
        named(&long, HASH),
        named("key_1", HASH),
        named("a", HASH) + &named("a", &HASH.replace('9', "8")),
    ];
    for file in wrong {
        assert!(matches!(of("", &[], &file), Err(ConfigError::Key { .. })), "{file}");
    }
    let config = of("", &[], &(named("a", HASH) + &named("b", &HASH.replace('9', "8")))).unwrap();
    assert_eq!(config.keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("a"), Some("b")]);
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let right = [
        ("0", 0),
        ("1500000", 1_500_000),
        ("700MiB", 700 << 20),
        ("700 mib", 700 << 20),
        ("2GiB", 2 << 30),
        ("1.5GB", 1_500_000_000),
        ("0.5k", 512),
        ("2G", 2 << 30),
        ("10b", 10),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in right {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }
    for text in ["", "MiB", "-1", "1e9", "1.2.3MB", ".5GB", "5 apples", "18446744073709551616", "99999999TiB", "1,5GB"]
    {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn durations_are_read_as_people_write_them() {
    let right = [
        ("5m", KeepAlive::For(Duration::from_secs(300))),
        ("1h30m", KeepAlive::For(Duration::from_secs(5400))),
        ("30s", KeepAlive::For(Duration::from_secs(30))),
        ("500ms", KeepAlive::For(Duration::from_millis(500))),
        ("1.5h", KeepAlive::For(Duration::from_secs(5400))),
        ("45", KeepAlive::For(Duration::from_secs(45))),
        ("0", KeepAlive::DropAfterUse),
        ("0s", KeepAlive::DropAfterUse),
        ("-1", KeepAlive::Forever),
        ("-1m", KeepAlive::Forever),
    ];
    for (text, keep_alive) in right {
        assert_eq!(text.parse(), Ok(Stay(keep_alive)), "{text}");
    }
    for text in ["", "-", "-0", "m", "5 minutes", "5d", "1h30", "1e3s", "99999999999h", "--1"] {
        assert!(text.parse::<Stay>().is_err(), "{text}");
    }
}

#[test]
fn the_rates_table_leaves_unsaid_prices_unknown() {
    let config = of("", &[], "[rates]\ncurrency = 'EUR'\ncpu_hour = 0.02").unwrap();
    assert_eq!(config.rates.currency, "EUR");
    assert_eq!(config.rates.cpu_hour.map(meter::PicoUnits::get), Some(20_000_000_000));
    assert_eq!(config.rates.memory_gb_hour, None);
    assert!(matches!(
        of("", &[], "[rates]\ncpu_hour = -1.0"),
        Err(ConfigError::Price { name: "cpu_hour", value }) if value < 0.0
    ));
}

#[test]
fn the_carbon_table_takes_a_place_or_a_figure() {
    let config = of("", &[], "[carbon]\nplace = 'fr'\npue = 1.25").unwrap();
    assert_eq!((config.carbon.grams_per_kwh, config.carbon.pue_thousandths), (56, 1250));
    let config = of("", &[], "[carbon]\ngrams_per_kwh = 20\nsource = 'own roof'").unwrap();
    assert_eq!((config.carbon.grams_per_kwh, config.carbon.quality), (20, Quality::Modelled));
    assert_eq!(config.carbon.source, "own roof");
    for wrong in ["place = 'Atlantis'", "place = 'DE'\ngrams_per_kwh = 1", "source = 'x'", "pue = 0.5", "pue = nan"] {
        assert!(matches!(of("", &[], &format!("[carbon]\n{wrong}")), Err(ConfigError::Carbon { .. })), "{wrong}");
    }
}

#[test]
fn a_file_is_read_with_paths_relative_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dayfly.toml");
    std::fs::write(
        &path,
        "models_dirs = ['models', '/abs']\nledger = 'l.sqlite'\ndescriptors_dir = 'd'\n[aliases]\nsmall = 'Some.Q4_0'
        [chat_templates]\na = 'gemma'\nb = 'b.jinja'",
    )
    .unwrap();
    let source = |path: &Path| Source::find(Layer::default(), Some(path), &Environment::default()).unwrap();
    let layer = source(&path).layer(&source(&path).read().unwrap().unwrap()).unwrap();
    assert_eq!(layer.models_dirs.unwrap(), [folder.path().join("models"), "/abs".into()]);
    assert_eq!(layer.ledger.unwrap(), folder.path().join("l.sqlite"));
    assert_eq!(layer.descriptors_dir.unwrap(), folder.path().join("d"));
    assert_eq!(layer.aliases.unwrap()["small"], "Some.Q4_0");
    let templates = layer.chat_templates.unwrap();
    assert_eq!((&templates["a"], &templates["b"]), (&"gemma".into(), &folder.path().join("b.jinja")));
    assert!(matches!(source(&folder.path().join("none.toml")).read(), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, "thread = 1").unwrap();
    assert!(matches!(source(&path).read(), Err(ConfigError::Invalid(_))));
}

#[test]
fn rows_of_the_ledger_are_kept_for_ever_or_for_a_day_at_least() {
    assert_eq!(of("", &[], "").unwrap().ledger_retention, None);
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(of("", &[], "ledger_retention = '90d'").unwrap().ledger_retention, Some(90 * day));
    let variables = [("DAYFLY_LEDGER_RETENTION", "24h")];
    assert_eq!(of("", &variables, "ledger_retention = '90d'").unwrap().ledger_retention, Some(day));
    assert!(matches!(of("", &[], "ledger_retention = '23h'"), Err(ConfigError::Retention)));
    assert!(toml::from_str::<Layer>("ledger_retention = '-1'").is_err());
}

#[test]
fn a_server_ends_when_idle_after_a_second_at_least_or_never() {
    assert_eq!(of("", &[], "").unwrap().exit_when_idle, None);
    let chosen = of("exit_when_idle = '1s'", &[("DAYFLY_EXIT_WHEN_IDLE", "5m")], "exit_when_idle = '10m'");
    assert_eq!(chosen.unwrap().exit_when_idle, Some(Duration::from_secs(1)));
    for file in ["exit_when_idle = '999ms'", "exit_when_idle = '0'"] {
        assert!(matches!(of("", &[], file), Err(ConfigError::ExitWhenIdle)), "{file}");
    }
    assert!(toml::from_str::<Layer>("log = 'dayfly=loud'").is_err());
}

#[test]
fn sizes_are_shown_with_three_digits() {
    let shown: Vec<String> =
        [0, 1023, 98_362_432, 1 << 30, u64::MAX].into_iter().map(|bytes| bytes_text(bytes).to_string()).collect();
    assert_eq!(shown, ["0 B", "1023 B", "93.8 MiB", "1.0 GiB", "16777216 TiB"]);
}

#[test]
fn the_hub_is_told_where_and_by_whom_and_the_token_is_not_shown() {
    let shown = |config: Config| config.hub.endpoint.to_string();
    assert_eq!(shown(of("", &[], "").unwrap()), "https://huggingface.co/");
    let file = "hf_endpoint = 'https://mirror.example'";
    assert_eq!(shown(of("", &[], file).unwrap()), "https://mirror.example/");
    let variables = [("HF_ENDPOINT", "http://127.0.0.1:9"), ("HF_TOKEN", "hf_hunter2"), ("HF_HOME", "/elsewhere")];
    assert_eq!(shown(of("", &variables, file).unwrap()), "http://127.0.0.1:9/");
    let environment = environment(&variables);
    assert!(environment.unknown().next().is_none());
    let token = environment.hf_token().unwrap();
    assert!(token.is_some() && !format!("{token:?}").contains("hunter2"));
    for (name, value) in [("HF_ENDPOINT", "http://mirror.example"), ("HF_TOKEN", "hunter2 two words")] {
        let environment = self::environment(&[(name, value)]);
        let error = environment.layer().err().or(environment.hf_token().err()).unwrap();
        let text = format!("{:#}", anyhow::Error::new(error));
        assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
    }
    assert!(toml::from_str::<Layer>("hf_endpoint = 'ftp://mirror.example'").is_err());
}

#[test]
fn devices_on_the_processor_share_the_machines_memory() {
    let file = "[devices.second]\nkind = 'candle-cpu'\nmemory = '1GiB'\n[scheduler]\nrouting = 'cost'";
    let config = of("", &[], file).unwrap();
    let whole = (8_u64 << 30) * 80 / 100 / (1 << 20) * (1 << 20);
    assert_eq!((config.devices[0].memory_bytes, config.devices[1].memory_bytes), (whole - (1 << 30), 1 << 30));
    assert_eq!((config.devices[1].threads.get(), config.memory_beside_bytes), (4, 1 << 30));
    assert_eq!(config.scheduler.routing.policy, ::scheduler::routing::Policy::Cost);
    let config = of("memory_budget = '2GiB'", &[], file).unwrap();
    assert_eq!(config.devices[0].memory_bytes, 2 << 30);
    for flags in ["memory_budget = '7.5GiB'", ""] {
        let memory = if flags.is_empty() { "8GiB" } else { "1GiB" };
        let file = format!("[devices.second]\nkind = 'candle-cpu'\nmemory = '{memory}'");
        let error = of(flags, &[], &file).unwrap_err().to_string();
        assert!(error.contains("more than this machine has"), "{error}");
    }
}

#[test]
fn a_number_that_no_table_holds_leaves_no_server_without_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dayfly.toml");
    std::fs::write(&path, "anonymous = 'refused'\n[tenants.a]\ntokens_per_minute = 18446744073709551615\n").unwrap();
    let environment = Environment::default();
    let refused = Config::load(Layer::default(), Some(&path), &environment);
    assert!(matches!(refused, Err(ConfigError::Invalid(_))), "{refused:?}");
    assert_eq!(Config::check(&Layer::default(), Some(&path), &environment).unwrap().faults.len(), 1);
}
