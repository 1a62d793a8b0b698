//! What an answer means. Pure.

use std::fmt;
use std::time::{Duration, SystemTime};

/// How many characters of an answer's body, or of another error, are kept.
const MAX_WORDS_LEN: usize = 200;

/// The outcome of one attempt, decided when the head of the response is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// Another try may succeed.
    Retry {
        /// What went wrong.
        reason: Reason,
        /// How long the receiver asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// 410: the receiver does not want this endpoint any more.
    Gone,
    /// The receiver will never take this event.
    Refused {
        /// Its status code.
        status: u16,
    },
}

/// Why an attempt failed in a way that may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A status that says so, or that a receiver gives during its own deploy.
    Status(u16),
    /// No complete response head in time.
    Timeout,
    /// No connection, a broken one, or an answer that is no HTTP.
    Network(String),
}

/// What a complete response head means, whose `Retry-After` header is `retry_after`.
#[must_use]
pub fn of_response(status: u16, retry_after: Option<&str>, now: SystemTime) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone,
        300..=399 | 400 | 413 | 415 | 422 => Outcome::Refused { status },
        _ => Outcome::Retry {
            reason: Reason::Status(status),
            retry_after: retry_after.and_then(|text| parse_retry_after(text, now)),
        },
    }
}

/// `Retry-After` is a number of seconds or an HTTP date (RFC 9110, section 10.2.3). Anything else is ignored.
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large to read is a long time all the same.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

impl Outcome {
    /// A failure that may pass, without a word from the receiver on when.
    #[must_use]
    pub fn retry(reason: Reason) -> Self {
        Self::Retry {
            reason,
            retry_after: None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Retry {
                reason: Reason::Status(status),
                ..
            } => write!(f, "answered {status}"),
            Self::Retry {
                reason: Reason::Timeout,
                ..
            } => f.write_str("no complete answer in time"),
            Self::Retry {
                reason: Reason::Network(what),
                ..
            } => f.write_str(what),
            Self::Gone => f.write_str("answered 410: the endpoint is gone"),
            Self::Refused { status } => write!(f, "answered {status}: refused"),
        }
    }
}

/// What is kept of a failure as the first or last error of its delivery, `body` being what was read of the answer's
/// body: such as `answered 503: the database is away`.
///
/// One line of bounded length. URLs are cut to their scheme: what follows is often what a receiver knows its senders by.
#[must_use]
pub fn error_text(outcome: &Outcome, body: &[u8]) -> String {
    let words = first_words(&String::from_utf8_lossy(body));
    match outcome {
        Outcome::Retry {
            reason: Reason::Status(status),
            ..
        }
        | Outcome::Refused { status }
            if !words.is_empty() =>
        {
            format!("answered {status}: {words}")
        }
        Outcome::Gone if !words.is_empty() => format!("answered 410: {words}"),
        _ => first_words(&outcome.to_string()),
    }
}

/// The beginning of a text, as one line without control characters and without what URLs hold.
fn first_words(text: &str) -> String {
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words: Vec<String> = printable.split_whitespace().map(without_url).collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_WORDS_LEN) {
        Some((end, _)) => line[..end].trim_end().to_owned(),
        None => line,
    }
}

/// A word without what follows the scheme of a URL in it.
fn without_url(word: &str) -> String {
    match word.find("://") {
        Some(at) => format!("{}://…", &word[..at]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_delivery_policy() {
        let retry = |status| Outcome::retry(Reason::Status(status));
        let now = SystemTime::now();
        for (status, expected) in [
            (200, Outcome::Delivered),
            (204, Outcome::Delivered),
            (299, Outcome::Delivered),
            (301, Outcome::Refused { status: 301 }),
            (304, Outcome::Refused { status: 304 }),
            (400, Outcome::Refused { status: 400 }),
            (401, retry(401)),
            (403, retry(403)),
            (404, retry(404)),
            (408, retry(408)),
            (410, Outcome::Gone),
            (413, Outcome::Refused { status: 413 }),
            (415, Outcome::Refused { status: 415 }),
            (422, Outcome::Refused { status: 422 }),
            (425, retry(425)),
            (429, retry(429)),
            (500, retry(500)),
            (503, retry(503)),
            (599, retry(599)),
            (999, retry(999)),
        ] {
            assert_eq!(of_response(status, None, now), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            (" 3 ", Some(3)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let Outcome::Retry { retry_after, .. } = of_response(503, Some(text), now) else {
                panic!()
            };
            assert_eq!(retry_after, expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_with_the_first_words_of_the_answer() {
        let status = |status| Outcome::retry(Reason::Status(status));
        let network = |text: &str| Outcome::retry(Reason::Network(text.to_owned()));
        for (outcome, body, expected) in [
            (
                status(503),
                "the database is away",
                "answered 503: the database is away",
            ),
            (status(503), "", "answered 503"),
            (status(503), " \r\n\t ", "answered 503"),
            (status(500), "a\n\n  b\u{1b}[31mc\0", "answered 500: a b [31mc"),
            (
                Outcome::Refused { status: 400 },
                "no such id",
                "answered 400: no such id",
            ),
            (Outcome::Refused { status: 301 }, "", "answered 301: refused"),
            (Outcome::Gone, "moved on", "answered 410: moved on"),
            (Outcome::Gone, "", "answered 410: the endpoint is gone"),
            (
                Outcome::retry(Reason::Timeout),
                "half",
                "no complete answer in time",
            ),
            (network("connection refused\n"), "", "connection refused"),
        ] {
            assert_eq!(error_text(&outcome, body.as_bytes()), expected);
        }
        assert_eq!(
            error_text(&status(500), b"\xff\xfe"),
            "answered 500: \u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn an_error_is_bounded_and_cut_between_characters() {
        let body = "é".repeat(4096);
        let text = error_text(&Outcome::retry(Reason::Status(500)), body.as_bytes());
        assert_eq!(text, format!("answered 500: {}", "é".repeat(200)));
        let text = error_text(&Outcome::retry(Reason::Network("x".repeat(4096))), b"");
        assert_eq!(text.len(), 200);
    }

    #[test]
    fn an_error_holds_nothing_of_a_url() {
        let secret = "see \"https://user:secret@host/secret?token=secret\" and http://host/secret";
        let body = error_text(&Outcome::retry(Reason::Status(404)), secret.as_bytes());
        assert_eq!(body, "answered 404: see \"https://… and http://…");
        let network = error_text(&Outcome::retry(Reason::Network(secret.to_owned())), b"");
        assert!(!network.contains("secret"), "{network}");
    }
}
