//! YAML files: each setting has a place, and each problem too.

use super::*;

/// A valid value of a key that is not its default.
fn sample(key: &Key) -> &'static str {
    match (key.kind, &key.state) {
        (Kind::Url, _) => "postgres://u:p%23w@h:7/d",
        (Kind::List(_), _) if key.path.contains(".plugin.") => "a.b,c.*",
        (Kind::List(_), _) => "a,b.*",
        (Kind::Text, State::Default("false")) => "true",
        (Kind::Text, State::Default(text)) if text.ends_with("iB") => "7MiB",
        (Kind::Text, State::Default(text)) if text.ends_with(['s', 'h', 'd']) => "7s",
        (Kind::Text, State::Default(text)) if text.contains(':') => ":7",
        _ if key.name == keys::MODE.name => "replication",
        _ if key.name == keys::PLUGIN_INCLUDE_XIDS.name => "on",
        _ if key.name == keys::SLOT_NAME.name => "another_slot",
        _ if key.name == keys::BACKOFF_INTERVAL.name => "7s",
        _ if key.name == keys::METRICS_ADDRESS.name => ":7",
        _ => "7",
    }
}

/// The text as a YAML file, each path in one flow mapping.
fn yaml(settings: &[(&Key, &str)]) -> (tempfile::NamedTempFile, Sources) {
    fn nested(settings: &[(&str, &str)]) -> String {
        let mut names: Vec<&str> = settings
            .iter()
            .filter_map(|(path, _)| path.split('.').next())
            .collect();
        names.dedup();
        let inner = names.iter().map(|name| {
            let below: Vec<(&str, &str)> = settings
                .iter()
                .filter_map(|(path, value)| Some((path.strip_prefix(name)?, *value)))
                .collect();
            match below.as_slice() {
                [("", value)] => format!("{name}: '{value}'"),
                below => {
                    let below: Vec<_> = below.iter().map(|(path, value)| (&path[1..], *value)).collect();
                    format!("{name}: {}", nested(&below))
                }
            }
        });
        format!("{{{}}}", inner.collect::<Vec<_>>().join(", "))
    }
    let mut settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.path, *value)).collect();
    settings.sort_unstable();
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(nested(&settings).as_bytes()).unwrap();
    let sources = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    (file, sources)
}

#[test]
fn every_setting_means_the_same_in_yaml_and_in_lines() {
    let base = Config::load(&environment(&[(keys::LISTENER_URL.name, URL)])).unwrap();
    let available = |key: &&Key| !matches!(key.state, State::NotYet(_));
    for key in keys::KEYS.iter().filter(available) {
        let mut set = vec![(key, sample(key))];
        if key.name != keys::LISTENER_URL.name {
            set.push((&keys::LISTENER_URL, URL));
        }
        for retries in [&keys::NOTIFIER_RETRIES, &keys::LISTENER_RETRIES] {
            if key.name == retries.constant_retries.name {
                set.push((&retries.interval, "9s"));
            }
        }
        let lines: Vec<String> = set
            .iter()
            .map(|(key, value)| format!("{}='{value}'", key.name))
            .collect();
        let (_lines, in_lines) = file(&lines.join("\n"));
        let (_yaml, in_yaml) = yaml(&set);
        let config = Config::load(&in_yaml).unwrap();
        assert_eq!(config, Config::load(&in_lines).unwrap(), "{}", key.name);
        if ![keys::MODE.name, keys::PLUGIN_INCLUDE_XIDS.name].contains(&key.name) {
            assert_ne!(config, base, "{} has no effect", key.name);
        }
    }
}

#[test]
fn a_problem_of_a_yaml_file_has_its_place() {
    let mut file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    let text = format!(
        "source:\n  postgres:\n    url: {URL}\ntarget:\n  webhooks:\n    notifier:\n      worker_cuont: 1\n      client_timeout: 10000\n"
    );
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources {
        file: Some(file.path().to_owned()),
        ..Sources::default()
    };
    let problems: Vec<String> = Config::load(&sources)
        .unwrap_err()
        .problems
        .iter()
        .map(ToString::to_string)
        .collect();
    let path = file.path().display();
    assert_eq!(
        problems,
        [
            format!(
                "{path}:7:7: target.webhooks.notifier.worker_cuont: is not a known key: did you mean target.webhooks.notifier.worker_count?"
            ),
            format!(
                "{path}:8:7: target.webhooks.notifier.client_timeout: \"10000\" is longer than 10m: write a shorter one, with its unit, such as 10s or 500ms"
            ),
        ]
    );
}
