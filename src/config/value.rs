//! What a valid value of each kind is. Errors are text that says what to write instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;

use super::keys::Key;

/// The longest duration that can be set. Keeps sums with the clock far from their limits.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time that something can be kept.
const MAX_RETENTION: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The largest size that can be set.
const MAX_SIZE: ByteSize = ByteSize::tib(1);

/// The longest that one exchange may take. A bare number counts seconds, and one of this size was meant otherwise.
const MAX_EXCHANGE: Duration = Duration::from_secs(10 * 60);

/// The most retries of one delivery.
const MAX_RETRIES: u32 = 1_000_000;

/// The most sessions at one time: a server has a few hundred for everybody.
const MAX_SESSIONS: usize = 256;

/// The most exchanges at one time: each holds a thread and a connection.
const MAX_WORKERS: usize = 10_000;

/// A positive duration: `60s`, `1m30s`, `500ms`, or a bare number of seconds.
///
/// # Errors
///
/// Text for the operator that says what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = positive(text, "60s, 1m30s or 500ms")?;
    if duration > MAX_DURATION {
        return Err(format!("{text:?} is longer than 24h: write a shorter one"));
    }
    Ok(duration)
}

/// How long one exchange may take: a [`duration`] of up to ten minutes.
pub(super) fn exchange(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration > MAX_EXCHANGE {
        return Err(format!(
            "{text:?} is longer than 10m: write a shorter one, with its unit, such as 10s or 500ms"
        ));
    }
    Ok(duration)
}

/// What is taken from the source.
pub(super) fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "replication" => Ok(Mode::Replication),
        "snapshot_and_replication" => Ok(Mode::SnapshotAndReplication),
        "snapshot" => Err(
            "a snapshot alone is taken by `pgstream snapshot`: leave this out, or write snapshot_and_replication"
                .to_owned(),
        ),
        _ => Err(format!(
            "{text:?} is not a mode: write replication, which takes the changes, or snapshot_and_replication, which \
             takes the existing rows before"
        )),
    }
}

/// What is taken from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its changes.
    Replication,
    /// Its existing rows, and then its changes.
    SnapshotAndReplication,
}

/// How long something is kept: like a [`duration`], but up to ten years, and so also `72h` or `30d`.
pub(super) fn retention(text: &str) -> Result<Duration, String> {
    let duration = positive(text, "72h or 30d")?;
    if duration > MAX_RETENTION {
        return Err(format!("{text:?} is longer than 3650d: write a shorter one"));
    }
    Ok(duration)
}

/// The same, where zero means for ever.
pub(super) fn retention_or_none(text: &str) -> Result<Option<Duration>, String> {
    if text.parse() == Ok(0_u64) {
        return Ok(None);
    }
    retention(text).map(Some)
}

fn positive(text: &str, examples: &str) -> Result<Duration, String> {
    let duration = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| format!("{text:?} is not a duration: write for example {examples}"))?,
    };
    if duration.is_zero() {
        return Err(format!("must be longer than zero: write for example {examples}"));
    }
    Ok(duration)
}

/// A positive number of bytes: `100MiB`, `1.5GB`, or a bare number.
///
/// # Errors
///
/// Text for the operator that says what to write.
pub fn size(text: &str) -> Result<u64, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| format!("{text:?} is not a size: write for example 100MiB, or a number of bytes"))?;
    if size.as_u64() == 0 {
        return Err("must be larger than zero: write for example 100MiB".to_owned());
    }
    if size > MAX_SIZE {
        return Err(format!("{text:?} is larger than 1TiB: write a smaller one"));
    }
    Ok(size.as_u64())
}

/// How many exchanges may be under way at one time.
pub(super) fn worker_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_WORKERS).contains(&count) => Ok(count),
        _ => Err(format!("{text:?} is not a whole number from 1 to {MAX_WORKERS}")),
    }
}

/// How many sessions of a database may be used at one time.
pub(super) fn sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_SESSIONS).contains(&count) => Ok(count),
        _ => Err(format!("{text:?} is not a whole number from 1 to {MAX_SESSIONS}")),
    }
}

/// How often one delivery is tried again. None at all is a setting of its own: zero would leave open which is meant.
pub(super) fn retries(text: &str, disable: &Key) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err(format!(
            "must be at least 1: to try once only, set {} to true",
            disable.name
        )),
        Ok(count) if count <= MAX_RETRIES => Ok(count),
        _ => Err(format!("{text:?} is not a whole number from 1 to {MAX_RETRIES}")),
    }
}

/// A number of rows; `0` means no bound.
pub(super) fn rows(text: &str) -> Result<Option<u64>, String> {
    match text.parse::<i64>().map(u64::try_from) {
        Ok(Ok(count)) => Ok((count > 0).then_some(count)),
        _ => Err(format!(
            "{text:?} is not a number of rows: write a whole number, or 0 for no bound"
        )),
    }
}

/// `true` or `false`, also as 1/0, yes/no and on/off.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "on" => Ok(true),
        "false" | "f" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!(
            "{text:?} is neither true nor false: write one of the two"
        )),
    }
}

/// Whether the plugin writes transactions' numbers: there is no choice.
pub(super) fn include_xids(text: &str) -> Result<(), String> {
    if boolean(text)? {
        return Ok(());
    }
    Err(
        "cannot be false: by the transaction's number pgstream knows which changes the rows of a snapshot hold \
        already; remove the setting, or set it to true"
            .to_owned(),
    )
}

/// An address to listen on. Names are not looked up, apart from `localhost`; no host means every IPv4 interface.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let everywhere = text.strip_prefix(':').map(|port| (Ipv4Addr::UNSPECIFIED, port));
    let here = text
        .strip_prefix("localhost:")
        .map(|port| (Ipv4Addr::LOCALHOST, port));
    let address = match everywhere.or(here) {
        Some((ip, port)) => port.parse().ok().map(|port: u16| SocketAddr::from((ip, port))),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| {
        format!("{text:?} is not an address with a port: write for example 127.0.0.1:9900, [::1]:9900, or :9900 for every interface")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("60s", Some(60_000)),
            ("60", Some(60_000)),
            ("1m30s", Some(90_000)),
            ("1h2m3s", Some(3_723_000)),
            ("500ms", Some(500)),
            ("1 min 30 sec", Some(90_000)),
            ("24h", Some(86_400_000)),
            ("0", None),
            ("0s", None),
            ("-5s", None),
            ("soon", None),
            ("60 parsecs", None),
            ("25h", None),
            ("99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn durations_of_an_exchange() {
        for (text, expected) in [
            ("10", Some(10)),
            ("10m", Some(600)),
            ("601", None),
            ("1000", None),
            ("0", None),
        ] {
            assert_eq!(exchange(text).ok().map(|d| d.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn modes() {
        assert_eq!(mode("replication"), Ok(Mode::Replication));
        assert_eq!(mode("snapshot_and_replication"), Ok(Mode::SnapshotAndReplication));
        for (text, why) in [
            ("snapshot", "pgstream snapshot"),
            ("Replication", "is not a mode"),
        ] {
            assert!(mode(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("100MiB", Some(104_857_600)),
            ("100 MB", Some(100_000_000)),
            ("1024", Some(1024)),
            ("1.5KiB", Some(1536)),
            ("1TiB", Some(1 << 40)),
            ("0", None),
            ("-1", None),
            ("much", None),
            ("9999EiB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn worker_counts() {
        for (text, expected) in [
            ("1", Some(1)),
            ("10000", Some(10_000)),
            ("0", None),
            ("10001", None),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(worker_count(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn retentions() {
        for (text, expected) in [
            ("72h", Some(3)),
            ("30d", Some(30)),
            ("30days", Some(30)),
            ("86400", Some(1)),
            ("3650d", Some(3650)),
            ("3651d", None),
            ("0d", None),
            ("-1d", None),
            ("long", None),
            ("99999999999999999999d", None),
        ] {
            let days = retention(text).ok().map(|time| time.as_secs() / 86_400);
            assert_eq!(days, expected, "{text}");
        }
    }

    #[test]
    fn retentions_without_an_end() {
        assert_eq!(retention_or_none("0"), Ok(None));
        assert_eq!(retention_or_none("1d"), Ok(Some(Duration::from_secs(86_400))));
        assert!(retention_or_none("-1").is_err());
    }

    #[test]
    fn numbers_of_retries() {
        let disable = &crate::config::keys::DISABLE_RETRIES;
        for (text, expected) in [
            ("1", Some(1)),
            ("1000000", Some(1_000_000)),
            ("0", None),
            ("1000001", None),
            ("-1", None),
            ("1.5", None),
            ("many", None),
        ] {
            assert_eq!(retries(text, disable).ok(), expected, "{text}");
        }
        let none = retries("0", disable).unwrap_err();
        assert!(
            none.contains("PGSTREAM_WEBHOOK_NOTIFIER_DISABLE_RETRIES"),
            "{none}"
        );
    }

    #[test]
    fn numbers_of_rows() {
        for (text, expected) in [
            ("0", Some(None)),
            ("1", Some(Some(1))),
            ("9223372036854775807", Some(Some(i64::MAX as u64))),
            ("9223372036854775808", None),
            ("-1", None),
            ("1.5", None),
            ("many", None),
        ] {
            assert_eq!(rows(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn booleans() {
        for (text, expected) in [
            ("true", Some(true)),
            ("TRUE", Some(true)),
            ("0", Some(false)),
            ("off", Some(false)),
            ("ja", None),
        ] {
            assert_eq!(boolean(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, expected) in [
            (":9900", Some("0.0.0.0:9900")),
            ("localhost:9900", Some("127.0.0.1:9900")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::1]:9900", Some("[::1]:9900")),
            ("9900", None),
            ("127.0.0.1", None),
            ("example.org:80", None),
            (":99999", None),
        ] {
            assert_eq!(
                listen_address(text).ok().map(|a| a.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
