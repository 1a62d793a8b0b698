//! How to talk to an endpoint, as an operator sets it.

use std::time::Duration;

use super::OperatorError;
use super::documents::EndpointDetails;
use super::endpoints::{check_known, details};
use crate::config::{parse_duration, parse_size};
use crate::endpoint::model::Order;
use crate::store::PgPool;
use crate::store::endpoint_settings::{self, Setting, SettingChanges};
use crate::subscription::model::validate_url;

/// The most requests that one endpoint may have in flight, and the most events of one request.
const MAX_IN_FLIGHT: usize = 10_000;
/// The most events that one request may hold.
const MAX_BATCH: usize = 1_000;
/// What a setting is called that goes back to its default.
const DEFAULT: &str = "default";

/// The settings as they were written; `None` leaves one as it is, `default` sets it back.
#[derive(Debug, Clone, Default)]
pub struct SettingTexts {
    /// `key`, `serial` or `none`.
    pub order: Option<String>,
    /// A number.
    pub in_flight: Option<String>,
    /// A duration.
    pub timeout: Option<String>,
    /// A number.
    pub batch_size: Option<String>,
    /// A duration.
    pub batch_wait: Option<String>,
    /// A size.
    pub batch_bytes: Option<String>,
}

/// Changes settings of an endpoint, and returns what is known of it then. With `new` the URL need not be known: so an
/// endpoint can be set up before anything is subscribed.
///
/// # Errors
/// [`OperatorError::Invalid`] for a URL that cannot be one; [`OperatorError::UnknownEndpoint`].
pub async fn set(
    pool: &PgPool,
    url: &str,
    changes: &SettingChanges,
    new: bool,
) -> Result<EndpointDetails, OperatorError> {
    if new {
        validate_url(url).map_err(|error| OperatorError::invalid("url", error.to_string()))?;
    } else {
        check_known(pool, "url", url).await?;
    }
    endpoint_settings::set(pool, url, changes).await?;
    details(pool, url).await
}

/// Reads settings.
///
/// # Errors
/// [`OperatorError::Invalid`] for the first that is wrong, or when there is none.
pub fn parse(texts: &SettingTexts) -> Result<SettingChanges, OperatorError> {
    let SettingTexts {
        order,
        in_flight,
        timeout,
        batch_size,
        batch_wait,
        batch_bytes,
    } = texts;
    let changes = SettingChanges {
        order: change("order", order.as_deref(), str::parse::<Order>)?,
        in_flight: change("in_flight", in_flight.as_deref(), |text| {
            number(text, MAX_IN_FLIGHT)
        })?,
        timeout: change("timeout", timeout.as_deref(), millis)?,
        batch_size: change("batch_size", batch_size.as_deref(), |text| {
            number(text, MAX_BATCH)
        })?,
        batch_wait: change("batch_wait", batch_wait.as_deref(), wait)?,
        batch_bytes: change("batch_bytes", batch_bytes.as_deref(), parse_size)?,
    };
    if changes == SettingChanges::default() {
        return Err(OperatorError::invalid(
            "settings",
            "nothing to set: give at least one of order, in-flight, timeout, batch-size, batch-wait and batch-bytes",
        ));
    }
    Ok(changes)
}

fn change<T>(
    field: &'static str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Setting<T>, OperatorError> {
    match text {
        None => Ok(Setting::Keep),
        Some(DEFAULT) => Ok(Setting::Reset),
        Some(text) => parse(text)
            .map(Setting::To)
            .map_err(|message| OperatorError::invalid(field, format!("{message} ({DEFAULT} sets it back)"))),
    }
}

fn number(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is not a whole number from 1 to {most}")),
    }
}

/// A duration that can be kept in whole milliseconds.
fn millis(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration < Duration::from_millis(1) {
        return Err(format!("{text:?} is shorter than 1ms"));
    }
    Ok(duration)
}

/// The same, or no wait at all.
fn wait(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" | "0ms" => Ok(Duration::ZERO),
        text => millis(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(field: &str, text: &str) -> SettingTexts {
        let mut texts = SettingTexts::default();
        let place = match field {
            "order" => &mut texts.order,
            "in_flight" => &mut texts.in_flight,
            "timeout" => &mut texts.timeout,
            "batch_size" => &mut texts.batch_size,
            "batch_wait" => &mut texts.batch_wait,
            _ => &mut texts.batch_bytes,
        };
        *place = Some(text.to_owned());
        texts
    }

    #[test]
    fn settings_are_read() {
        let parsed = parse(&SettingTexts {
            order: Some("serial".to_owned()),
            in_flight: Some("8".to_owned()),
            timeout: Some("1m30s".to_owned()),
            batch_size: Some("default".to_owned()),
            batch_wait: Some("50ms".to_owned()),
            batch_bytes: None,
        });
        assert_eq!(
            parsed.unwrap(),
            SettingChanges {
                order: Setting::To(Order::Serial),
                in_flight: Setting::To(8),
                timeout: Setting::To(Duration::from_secs(90)),
                batch_size: Setting::Reset,
                batch_wait: Setting::To(Duration::from_millis(50)),
                batch_bytes: Setting::Keep,
            }
        );
        let bytes = parse(&texts("batch_bytes", "1MiB")).unwrap().batch_bytes;
        assert_eq!(bytes, Setting::To(1 << 20));
        let wait = parse(&texts("batch_wait", "0")).unwrap().batch_wait;
        assert_eq!(wait, Setting::To(Duration::ZERO));
    }

    #[test]
    fn wrong_settings_are_named() {
        for (field, text, words) in [
            ("order", "random", "key, serial or none"),
            ("order", "", "key, serial or none"),
            ("in_flight", "0", "from 1 to 10000"),
            ("in_flight", "-1", "from 1 to 10000"),
            ("in_flight", "10001", "from 1 to 10000"),
            ("batch_size", "1001", "from 1 to 1000"),
            ("batch_size", "many", "from 1 to 1000"),
            ("timeout", "soon", "60s"),
            ("timeout", "0s", "longer than zero"),
            ("timeout", "25h", "24h"),
            ("batch_wait", "100us", "shorter than 1ms"),
            ("batch_wait", "-1s", "60s"),
            ("batch_bytes", "much", "100MiB"),
            ("batch_bytes", "2TiB", "1TiB"),
        ] {
            match parse(&texts(field, text)) {
                Err(OperatorError::Invalid {
                    field: named,
                    message,
                }) => {
                    assert_eq!(named, field, "{text}");
                    assert!(message.contains(words), "{field} {text}: {message}");
                }
                other => panic!("{field} {text}: {other:?}"),
            }
        }
        assert!(parse(&SettingTexts::default()).is_err());
    }
}
