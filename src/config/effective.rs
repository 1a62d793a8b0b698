//! What holds for each key, and why: for people who wonder where a value comes from.

use super::error::{ConfigError, Origin};
use super::keys::{self, KEYS, Key, Kind, State};
use super::sources::{Layers, Sources};
use super::{Config, PgUrl};
use crate::backoff::Backoff;

/// A key and what holds for it.
#[derive(Debug)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value as it was written, with passwords masked; nothing where the absence of one is what holds.
    pub value: Option<String>,
    /// Where it stood; `Unset` where the default holds.
    pub origin: Origin,
}

/// All settings of a configuration that is valid, with its warnings.
///
/// # Errors
///
/// As [`Config::load`].
pub fn settings(sources: &Sources) -> Result<(Vec<Setting>, Vec<String>), ConfigError> {
    let layers = Layers::read(sources);
    let config = Config::of_layers(layers.clone())?;
    let settings = KEYS
        .iter()
        .filter(|key| !matches!(key.state, State::NotYet(_)))
        .map(|key| setting(&layers, &config, key))
        .collect();
    Ok((settings, config.warnings))
}

fn setting(layers: &Layers, config: &Config, key: &'static Key) -> Setting {
    match layers.get(key) {
        Some(found) => Setting {
            key,
            value: Some(shown(key, &found.value)),
            origin: found.origin.clone(),
        },
        None => Setting {
            key,
            value: unset(config, key),
            origin: Origin::Unset(key.name),
        },
    }
}

/// A valid value, without its password.
fn shown(key: &Key, value: &str) -> String {
    match key.kind {
        // One that cannot be read is not shown at all, though none gets here.
        Kind::Url => PgUrl::parse(value).map_or_else(|_| "***".to_owned(), |url| url.to_string()),
        Kind::Text | Kind::List(_) => value.to_owned(),
    }
}

/// What holds for a key that nothing sets.
fn unset(config: &Config, key: &Key) -> Option<String> {
    if is_without_effect(config, key) {
        return None;
    }
    match key.state {
        State::Default(text) => Some(text.to_owned()),
        _ if key.name == keys::SLOT_NAME.name => Some(config.slot.clone()),
        _ if key.name == keys::STORE_URL.name => Some(config.store.to_string()),
        State::Required | State::Derived(_) | State::NotYet(_) => None,
    }
}

/// Whether the key's default does not hold, because retries are of the other kind, or there are none.
fn is_without_effect(config: &Config, key: &Key) -> bool {
    let Config {
        notifier, reconnect, ..
    } = config;
    let of_deliveries = (
        &keys::NOTIFIER_RETRIES,
        notifier.backoff,
        notifier.disable_retries,
    );
    let of_connecting = (
        &keys::LISTENER_RETRIES,
        reconnect.backoff,
        reconnect.max_retries == Some(0),
    );
    [of_deliveries, of_connecting]
        .iter()
        .any(|(keys, backoff, none)| {
            let is_one_of = |keys: &[&Key]| keys.iter().any(|other| other.name == key.name);
            let exponential = is_one_of(&[
                &keys.initial_interval,
                &keys.max_interval,
                &keys.exponential_retries,
            ]);
            let constant = is_one_of(&[&keys.interval, &keys.constant_retries]);
            match backoff {
                _ if *none => exponential || constant,
                Backoff::Exponential { .. } => constant,
                Backoff::Constant { .. } => exponential,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FlagValue;

    #[test]
    fn each_key_has_its_value_and_its_origin() {
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        let text = "target: {webhooks: {notifier: {worker_count: 7, strict_mode: true}}}";
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let sources = Sources {
            flags: vec![FlagValue {
                flag: "--pgurl",
                key: &keys::LISTENER_URL,
                value: "postgres://u:hunter2@h/d".to_owned(),
            }],
            environment: vec![(keys::WORKER_COUNT.name.into(), "9".into())],
            file: Some(file.path().to_owned()),
        };
        let (settings, _) = settings(&sources).unwrap();
        let of = |key: &Key| {
            let found = settings.iter().find(|setting| setting.key.name == key.name);
            let found = found.unwrap();
            (found.value.clone(), found.origin.clone())
        };
        assert_eq!(of(&keys::WORKER_COUNT).0.as_deref(), Some("9"));
        assert_eq!(
            of(&keys::WORKER_COUNT).1,
            Origin::Environment(keys::WORKER_COUNT.name.to_owned())
        );
        assert!(matches!(
            of(&keys::STRICT_MODE).1,
            Origin::File {
                position: Some(_),
                ..
            }
        ));
        assert_eq!(of(&keys::LISTENER_URL).1, Origin::Flag("--pgurl"));
        assert_eq!(of(&keys::SLOT_NAME).0.as_deref(), Some("pgstream_d_slot"));
        assert_eq!(
            of(&keys::INJECTOR_URL),
            (None, Origin::Unset(keys::INJECTOR_URL.name))
        );
        assert_eq!(of(&keys::CLIENT_TIMEOUT).0.as_deref(), Some("10s"));
        assert_eq!(of(&keys::EXP_BACKOFF_MAX_RETRIES).0.as_deref(), Some("20"));
        assert_eq!(of(&keys::BACKOFF_MAX_RETRIES).0, None);
        let all = format!("{settings:?}");
        assert!(
            !all.contains("hunter2") && all.matches(":***@h").count() == 2,
            "{all}"
        );
    }
}
