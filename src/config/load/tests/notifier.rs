//! The settings of the notifier.

use super::*;

const PREFIX: &str = "PGSTREAM_WEBHOOK_NOTIFIER_";

/// Loads with these keys of the notifier set.
fn notifier(pairs: &[(&str, &str)]) -> Result<NotifierConfig, String> {
    let names: Vec<String> = pairs.iter().map(|(name, _)| format!("{PREFIX}{name}")).collect();
    let mut set = vec![(keys::LISTENER_URL.name, URL)];
    set.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(pairs.iter().map(|(_, value)| *value)),
    );
    let loaded = Config::load(&environment(&set));
    loaded
        .map(|config| config.notifier)
        .map_err(|error| error.to_string())
}

#[test]
fn each_wrong_value_of_the_notifier_is_refused_by_its_name() {
    for (key, wrong) in [
        ("MAX_QUEUE_BYTES", "0"),
        ("MAX_QUEUE_BYTES", "much"),
        ("WORKER_COUNT", "0"),
        ("CLIENT_TIMEOUT", "0s"),
        ("EXP_BACKOFF_INITIAL_INTERVAL", "-1s"),
        ("EXP_BACKOFF_MAX_INTERVAL", "25h"),
        ("EXP_BACKOFF_MAX_RETRIES", "0"),
        ("EXP_BACKOFF_MAX_RETRIES", "-1"),
        ("EXP_BACKOFF_MAX_RETRIES", "1000001"),
        ("BACKOFF_INTERVAL", "0"),
        ("BACKOFF_INTERVAL", "soon"),
        ("DISABLE_RETRIES", "maybe"),
        ("STRICT_MODE", "very"),
        ("BACKLOG_MAX_AGE", "0"),
        ("BACKLOG_MAX_AGE", "three days"),
        ("BACKLOG_MAX_AGE", "11years"),
        ("BACKLOG_MAX_BYTES", "0"),
        ("BACKLOG_MAX_BYTES", "10 gigs"),
        ("BACKLOG_MAX_ROWS", "-1"),
        ("BACKLOG_MAX_ROWS", "1e6"),
        ("DEAD_LETTER_RETENTION", "0d"),
        ("DEAD_LETTER_RETENTION", "forever"),
    ] {
        let error = notifier(&[(key, wrong)]).unwrap_err();
        let expected = format!("invalid configuration: environment variable {PREFIX}{key}: ");
        assert!(error.starts_with(&expected), "{key}={wrong}: {error}");
    }
}

#[test]
fn the_notifier_takes_what_is_set() {
    let config = notifier(&[
        ("BACKOFF_INTERVAL", "5s"),
        ("BACKOFF_MAX_RETRIES", "3"),
        ("DISABLE_RETRIES", "true"),
        ("STRICT_MODE", "on"),
        ("BACKLOG_MAX_AGE", "7d"),
        ("BACKLOG_MAX_BYTES", "1 GB"),
        ("BACKLOG_MAX_ROWS", "1000000"),
        ("DEAD_LETTER_RETENTION", "90days"),
    ])
    .unwrap();
    let interval = Duration::from_secs(5);
    assert_eq!(config.backoff, Backoff::Constant { interval });
    assert_eq!(config.max_retries, 3);
    assert!(config.disable_retries && config.strict_mode);
    assert_eq!(
        config.backlog,
        BacklogLimits {
            max_age: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 1_000_000_000,
            max_rows: Some(1_000_000),
        }
    );
    assert_eq!(config.dead_letter_retention, Duration::from_secs(90 * 24 * 3600));
    let evenly = notifier(&[("BACKOFF_INTERVAL", "5s")]).unwrap();
    assert_eq!(evenly.max_retries, 20);
    let exponential = notifier(&[("EXP_BACKOFF_MAX_RETRIES", "7")]).unwrap();
    assert_eq!(exponential.max_retries, 7);
}

#[test]
fn waits_are_of_one_length_or_exponential() {
    for constant in ["BACKOFF_INTERVAL", "BACKOFF_MAX_RETRIES"] {
        for exponential in [
            "EXP_BACKOFF_INITIAL_INTERVAL",
            "EXP_BACKOFF_MAX_INTERVAL",
            "EXP_BACKOFF_MAX_RETRIES",
        ] {
            let error = notifier(&[(constant, "10"), (exponential, "10")]).unwrap_err();
            let expected = format!("{PREFIX}{constant}: cannot be set together with {PREFIX}{exponential}: ");
            assert!(error.contains(&expected), "{error}");
        }
    }
    let error = notifier(&[("BACKOFF_MAX_RETRIES", "3")]).unwrap_err();
    let expected = format!("{PREFIX}BACKOFF_MAX_RETRIES: has no meaning without {PREFIX}BACKOFF_INTERVAL: ");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn a_longest_wait_alone_below_the_default_of_the_first_is_refused() {
    let error = notifier(&[("EXP_BACKOFF_MAX_INTERVAL", "500ms")]).unwrap_err();
    let both = ["EXP_BACKOFF_INITIAL_INTERVAL", "EXP_BACKOFF_MAX_INTERVAL"];
    assert!(both.iter().all(|key| error.contains(key)), "{error}");
}
