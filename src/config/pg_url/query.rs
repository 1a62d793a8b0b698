//! The parameters behind the `?` of a PostgreSQL URL.

use std::time::Duration;

use super::parse::decode;
use super::{PgUrlError, SslMode};
use crate::config::suggest::nearest;

/// The parameters that are understood, by their libpq names.
const KNOWN: [&str; 8] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "application_name",
    "connect_timeout",
];

/// The decoded values of [`KNOWN`], in its order.
#[derive(Default)]
pub(super) struct Query([Option<String>; KNOWN.len()]);

impl Query {
    /// Splits and decodes the text behind the `?`. A `+` stays a plus, as in libpq.
    pub(super) fn parse(text: &str) -> Result<Self, PgUrlError> {
        let mut query = Self::default();
        let mut behind_password = false;
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(raw_name, "query")?;
            let Some(position) = KNOWN.iter().position(|known| *known == name) else {
                if behind_password {
                    return Err(PgUrlError::AmpersandInPassword);
                }
                let hint = hint(&name);
                return Err(PgUrlError::UnknownParameter { name, hint });
            };
            if raw_value.is_empty() {
                return Err(PgUrlError::NoValue { name });
            }
            if query.0[position].is_some() {
                return Err(PgUrlError::Repeated {
                    name: KNOWN[position],
                });
            }
            query.0[position] = Some(decode(raw_value, KNOWN[position])?);
            behind_password |= KNOWN[position] == "password";
        }
        Ok(query)
    }

    /// Takes the value of a known parameter.
    pub(super) fn take(&mut self, name: &'static str) -> Option<String> {
        let position = KNOWN.iter().position(|known| *known == name)?;
        self.0[position].take()
    }

    /// Takes `sslmode`; modes that need TLS are refused.
    pub(super) fn take_sslmode(&mut self) -> Result<SslMode, PgUrlError> {
        let Some(mode) = self.take("sslmode") else {
            return Ok(SslMode::default());
        };
        match mode.as_str() {
            "disable" => Ok(SslMode::Disable),
            "prefer" => Ok(SslMode::Prefer),
            "allow" => Err(PgUrlError::TlsNotAvailable { mode: "allow" }),
            "require" => Err(PgUrlError::TlsNotAvailable { mode: "require" }),
            "verify-ca" => Err(PgUrlError::TlsNotAvailable { mode: "verify-ca" }),
            "verify-full" => Err(PgUrlError::TlsNotAvailable { mode: "verify-full" }),
            _ => Err(PgUrlError::SslMode { mode }),
        }
    }

    /// Takes `connect_timeout`; zero means no limit, as in libpq.
    pub(super) fn take_connect_timeout(&mut self) -> Result<Option<Duration>, PgUrlError> {
        let Some(seconds) = self.take("connect_timeout") else {
            return Ok(None);
        };
        let seconds: u32 = seconds.parse().map_err(|_| PgUrlError::ConnectTimeout)?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
    }
}

fn hint(name: &str) -> String {
    match nearest(name, KNOWN) {
        Some(known) => format!("did you mean {known}?"),
        None => format!("known are {}", KNOWN.join(", ")),
    }
}
