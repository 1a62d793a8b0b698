//! When a change was committed, read from what is delivered of it.

use std::time::SystemTime;

/// What an event's payload begins with, up to the letter of the change.
const ACTION: &[u8] = br#"{"Data":{"action":""#;
/// What is between that letter and the time.
const TIMESTAMP: &[u8] = br#"","timestamp":""#;
/// What is behind it: sessions of ours are in UTC.
const UTC: &[u8] = br#"+00""#;
/// The longest time that PostgreSQL prints without its zone.
const MAX_LEN: usize = "2025-03-13 09:52:47.579305".len();

/// When the change of this payload was committed, as the server printed it. Neither the stream nor the backlog carries it
/// beside the payload, and finding it there takes less than remembering it.
#[must_use]
pub fn commit_time(payload: &[u8]) -> Option<SystemTime> {
    let behind_letter = payload.strip_prefix(ACTION)?.get(1..)?;
    let time = behind_letter.strip_prefix(TIMESTAMP)?;
    let window = time.get(..MAX_LEN + UTC.len()).unwrap_or(time);
    let end = window.windows(UTC.len()).position(|part| part == UTC)?;
    let text = std::str::from_utf8(&window[..end]).ok()?;
    humantime::parse_rfc3339_weak(text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_time_is_found_in_the_payload() {
        let payload = |time: &str| format!(r#"{{"Data":{{"action":"I","timestamp":{time},"lsn":"0/1"}}}}"#);
        let seconds = UNIX_EPOCH + Duration::from_secs(1_741_859_567);
        for (time, expected) in [
            (
                r#""2025-03-13 09:52:47.579305+00""#,
                Some(seconds + Duration::from_micros(579_305)),
            ),
            (
                r#""2025-03-13 09:52:47.5+00""#,
                Some(seconds + Duration::from_millis(500)),
            ),
            (r#""2025-03-13 09:52:47+00""#, Some(seconds)),
            (r#""2025-03-13 09:52:47+01""#, None),
            (r#""""#, None),
            ("null", None),
        ] {
            assert_eq!(commit_time(payload(time).as_bytes()), expected, "{time}");
        }
        for odd in [
            "",
            "{}",
            r#"{"Data":{"action":"I"#,
            r#"{"Data":{"action":"I","timestamp":"2025"#,
        ] {
            assert_eq!(commit_time(odd.as_bytes()), None, "{odd}");
        }
    }
}
