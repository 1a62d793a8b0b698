//! What is read of which source, and every problem that is found.

mod notifier;
mod yaml;

use std::io::Write;
use std::time::Duration;

use super::*;
use crate::backoff::Backoff;
use crate::config::keys::Kind;
use crate::config::{FlagValue, Host};

const URL: &str = "postgres://postgres:postgres@localhost:5432?sslmode=disable";

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let environment = pairs
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    Sources {
        environment,
        ..Sources::default()
    }
}

fn file(text: &str) -> (tempfile::NamedTempFile, Sources) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    (file, sources)
}

#[test]
fn defaults_fill_in_all_but_the_url() {
    let config = Config::load(&environment(&[(keys::LISTENER_URL.name, URL)])).unwrap();
    assert_eq!(config.source.servers[0].host, Host::Tcp("localhost".to_owned()));
    assert_eq!(config.store, config.source);
    assert_eq!(config.slot, "pgstream_postgres_slot");
    assert_eq!(
        config.cache,
        CacheConfig {
            enabled: false,
            refresh_interval: Duration::from_secs(60)
        }
    );
    assert_eq!(
        config.server,
        ServerConfig {
            address: "127.0.0.1:9900".parse().unwrap(),
            read_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
        }
    );
    assert_eq!(
        config.notifier,
        NotifierConfig {
            max_queue_bytes: 104_857_600,
            worker_count: 256,
            client_timeout: Duration::from_secs(10),
            backoff: Backoff::Exponential {
                initial: Duration::from_secs(1),
                maximum: Duration::from_secs(30),
            },
            max_retries: 20,
            disable_retries: false,
            strict_mode: false,
            backlog: BacklogLimits {
                max_age: Duration::from_secs(72 * 3600),
                max_bytes: 10 << 30,
                max_rows: None,
            },
            dead_letter_retention: Duration::from_secs(30 * 24 * 3600),
        }
    );
    assert!(config.warnings.is_empty());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let slot = keys::SLOT_NAME.name;
    let (_file, mut sources) = file(&format!(
        "{}=\"{URL}\"\n{slot}=from_file\n{}=30s\n",
        keys::LISTENER_URL.name,
        keys::CACHE_REFRESH_INTERVAL.name
    ));
    assert_eq!(Config::load(&sources).unwrap().slot, "from_file");
    sources.environment = vec![(slot.into(), "from_environment".into())];
    assert_eq!(Config::load(&sources).unwrap().slot, "from_environment");
    let value = "from_flag".to_owned();
    sources.flags = vec![FlagValue {
        flag: "--replication-slot",
        key: &keys::SLOT_NAME,
        value,
    }];
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.slot, "from_flag");
    assert_eq!(config.cache.refresh_interval, Duration::from_secs(30));
}

#[test]
fn all_problems_are_reported_together_with_their_origins() {
    let (_file, mut sources) = file(
        "PGSTREAM_POSTGRES_LISTENER_URI=postgres://u:secret@h/d\n\
         PGSTREAM_METRICS_ADDRESS=9901\n\
         PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT=many\n\
         PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT=2\n\
         SOMETHING_ELSE=1\n",
    );
    sources.environment = vec![
        (
            keys::STORE_URL.name.into(),
            "postgres://u:secret@h/d?sslmode=required".into(),
        ),
        (keys::EXP_BACKOFF_INITIAL_INTERVAL.name.into(), "1m".into()),
        (keys::SERVER_ADDRESS.name.into(), "".into()),
    ];
    let value = "No".to_owned();
    sources.flags = vec![FlagValue {
        flag: "--replication-slot",
        key: &keys::SLOT_NAME,
        value,
    }];

    let error = Config::load(&sources).unwrap_err();
    let path = sources.file.unwrap();
    let path = path.display();
    let expected = [
        &format!(
            "{path}: PGSTREAM_POSTGRES_LISTENER_URI: is not a known key: did you mean PGSTREAM_POSTGRES_LISTENER_URL?"
        ),
        &format!("{path}: PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT: is set twice"),
        // That the URL is not set is a consequence.
        "environment variable PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL: sslmode is \"required\"",
        "flag --replication-slot: \"No\" is not a slot name",
        &format!("{path}: PGSTREAM_METRICS_ADDRESS: \"9901\" is not an address with a port"),
        &format!(
            "{path}: PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT: \"many\" is not a whole number from 1 to 10000"
        ),
        "environment variable PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL: is longer than",
    ];
    assert_eq!(error.problems.len(), expected.len(), "{error}");
    for (problem, expected) in error.problems.iter().zip(expected) {
        assert!(
            problem.to_string().starts_with(expected),
            "{problem}\nshould begin with\n{expected}"
        );
    }
    let text = error.to_string();
    assert!(
        text.starts_with("invalid configuration, 7 problems:\n  - "),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn each_key_of_a_later_feature_is_refused() {
    for key in keys::KEYS
        .iter()
        .filter(|key| matches!(key.state, State::NotYet(_)))
    {
        let set = |value| Config::load(&environment(&[(keys::LISTENER_URL.name, URL), (key.name, value)]));
        let error = set("anything").unwrap_err().to_string();
        assert!(
            error.contains(key.name) && error.contains("not available yet"),
            "{error}"
        );
        assert!(set("").is_ok(), "{}: an empty value is not set", key.name);
    }
}

#[test]
fn the_store_needs_one_url_only() {
    let store = "postgres://store:5433/s?sslmode=disable";
    let load = |pairs: &[(&str, &str)]| {
        StoreConfig::load(&environment(pairs)).map(|found| found.url.servers[0].port)
    };
    assert_eq!(load(&[(keys::LISTENER_URL.name, URL)]), Ok(5432));
    assert_eq!(load(&[(keys::STORE_URL.name, store)]), Ok(5433));
    assert_eq!(
        load(&[
            (keys::LISTENER_URL.name, "nonsense"),
            (keys::STORE_URL.name, store)
        ]),
        Ok(5433)
    );
    for pairs in [&[][..], &[(keys::STORE_URL.name, "nonsense")]] {
        assert_eq!(load(pairs).unwrap_err().problems.len(), 1, "{pairs:?}");
    }
}

#[test]
fn what_can_be_looked_at_needs_no_other_setting_to_be_right() {
    let load = |pairs: &[(&str, &str)]| {
        Targets::load(&environment(pairs)).map(|found| {
            (
                found.source.servers[0].port,
                found.store.servers[0].port,
                found.slot,
            )
        })
    };
    let wrong = (keys::WORKER_COUNT.name, "many");
    assert_eq!(
        load(&[(keys::LISTENER_URL.name, URL), wrong]),
        Some((5432, 5432, "pgstream_postgres_slot".to_owned()))
    );
    let store = (keys::STORE_URL.name, "postgres://s:5433/s?sslmode=disable");
    let slot = (keys::SLOT_NAME.name, "another");
    assert_eq!(
        load(&[(keys::LISTENER_URL.name, URL), store, slot, wrong]),
        Some((5432, 5433, "another".to_owned()))
    );
    assert_eq!(load(&[store]), None);
    assert_eq!(load(&[(keys::LISTENER_URL.name, "nonsense"), store]), None);
    let whole = Config::load(&environment(&[(keys::LISTENER_URL.name, URL)])).unwrap();
    assert_eq!(
        Targets::load(&environment(&[(keys::LISTENER_URL.name, URL)])),
        Some(Targets::from(&whole))
    );
}

#[test]
fn unknown_variables_of_the_environment_are_warnings() {
    let sources = environment(&[
        (keys::LISTENER_URL.name, URL),
        ("PGSTREAM_WEBHOOK_WORKER_COUNT", "2"),
        (keys::PROGRAMS_FOLDER, "/usr/lib/postgresql/15/bin"),
    ]);
    let warnings = Config::load(&sources).unwrap().warnings;
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.starts_with(
            "environment variable PGSTREAM_WEBHOOK_WORKER_COUNT: is not a known key: did you mean "
        ),
        "{warning}"
    );
}

#[test]
fn debug_output_never_holds_a_password() {
    let url = "postgres://u:secret@h/d?sslmode=disable";
    let config = Config::load(&environment(&[(keys::LISTENER_URL.name, url)])).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn the_mode_says_what_the_tables_say() {
    let load = |mode: &str, tables: &str| {
        Config::load(&environment(&[
            (keys::LISTENER_URL.name, URL),
            (keys::MODE.name, mode),
            (keys::SNAPSHOT_TABLES.name, tables),
        ]))
        .map(|config| !config.snapshot.tables.is_empty())
        .map_err(|error| error.to_string())
    };
    assert_eq!(load("", "a b.*"), Ok(true));
    assert_eq!(load("snapshot_and_replication", "*"), Ok(true));
    assert_eq!(load("replication", ""), Ok(false));
    let told = load("replication", "a").unwrap_err();
    assert!(told.contains("takes no existing rows"), "{told}");
    let told = load("snapshot_and_replication", "").unwrap_err();
    assert!(told.contains("needs PGSTREAM_POSTGRES_SNAPSHOT_TABLES"), "{told}");
}

#[test]
fn the_plugin_cannot_be_told_to_withhold_what_is_needed() {
    let load = |key: &Key, value: &str| {
        Config::load(&environment(&[(keys::LISTENER_URL.name, URL), (key.name, value)]))
            .map(|config| config.plugin)
            .map_err(|error| error.to_string())
    };
    for (key, value, words) in [
        (
            &keys::PLUGIN_INCLUDE_XIDS,
            "false",
            "cannot be false: by the transaction's number",
        ),
        (&keys::PLUGIN_INCLUDE_XIDS, "perhaps", "neither true nor false"),
        (&keys::PLUGIN_ADD_TABLES, "orders", "write schema.table"),
        (&keys::PLUGIN_FILTER_TABLES, "public.a b", "a backslash before it"),
        (&keys::PLUGIN_FILTER_TABLES, "*.*", "pgstream.schema_log"),
        (&keys::PLUGIN_FILTER_TABLES, "*.schema_log", "pgstream.schema_log"),
        (
            &keys::PLUGIN_FILTER_TABLES,
            "a.b,pgstream.*",
            "pgstream.schema_log",
        ),
    ] {
        let error = load(key, value).unwrap_err();
        assert!(error.contains(key.name) && error.contains(words), "{error}");
    }
    assert!(load(&keys::PLUGIN_INCLUDE_XIDS, "true").is_ok());
    let plugin = load(&keys::PLUGIN_FILTER_TABLES, r"public.a\ b, *.log").unwrap();
    assert!(plugin.filter.matches("public", "a b") && plugin.filter.matches("any", "log"));
}
