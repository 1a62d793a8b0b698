//! The parameters behind the `?` of a PostgreSQL URL, and the environment variables that stand in for them.

use super::PgUrlError;
use super::choices::Choice;
use super::local::Local;
use super::parse::decode;
use crate::config::suggest::nearest;

/// The parameters that are understood, by their libpq names, and the variable that gives the default, if one does.
///
/// Where the database is and who connects to it is said in the URL alone: `PGHOST`, `PGPORT`, `PGUSER` and `PGDATABASE` are
/// not read. A variable that was set for another program would else decide which database is streamed, and two URLs that
/// say the same would mean two databases in two shells.
const KNOWN: [(&str, Option<&str>); 20] = [
    ("host", None),
    ("port", None),
    ("user", None),
    ("password", Some("PGPASSWORD")),
    ("dbname", None),
    ("passfile", Some("PGPASSFILE")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("application_name", Some("PGAPPNAME")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("keepalives", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("keepalives_count", None),
    ("tcp_user_timeout", None),
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
            let Some(position) = position(&name) else {
                if behind_password {
                    return Err(PgUrlError::AmpersandInPassword);
                }
                let hint = hint(&name);
                return Err(PgUrlError::UnknownParameter { name, hint });
            };
            let (known, _) = KNOWN[position];
            if raw_value.is_empty() {
                return Err(PgUrlError::NoValue { name });
            }
            if query.0[position].is_some() {
                return Err(PgUrlError::Repeated { name: known });
            }
            query.0[position] = Some(decode(raw_value, known)?);
            behind_password |= known == "password";
        }
        Ok(query)
    }

    /// Takes the value of a known parameter.
    pub(super) fn take(&mut self, name: &'static str) -> Option<String> {
        self.0[position(name)?].take()
    }

    /// Takes the value of a known parameter, or else of its variable, with the name of what gave it.
    pub(super) fn setting(
        &mut self,
        name: &'static str,
        local: &Local,
    ) -> Result<Option<(&'static str, String)>, PgUrlError> {
        if let Some(value) = self.take(name) {
            return Ok(Some((name, value)));
        }
        let variable = position(name).and_then(|position| KNOWN[position].1);
        let found = variable.and_then(|variable| Some((variable, local.environment.get(variable)?)));
        found
            .map(|(variable, value)| match value.to_str() {
                Some(value) => Ok((variable, value.to_owned())),
                None => Err(PgUrlError::NotUtf8 { part: variable }),
            })
            .transpose()
    }

    /// Takes a parameter whose value is one of a few words.
    pub(super) fn choice<T: Choice>(
        &mut self,
        name: &'static str,
        local: &Local,
    ) -> Result<Option<T>, PgUrlError> {
        let Some((name, value)) = self.setting(name, local)? else {
            return Ok(None);
        };
        let known = T::words();
        T::find(&value)
            .map(Some)
            .ok_or(PgUrlError::Choice { name, value, known })
    }

    /// Takes a parameter whose value is a number of this `unit`.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        unit: &'static str,
        local: &Local,
    ) -> Result<Option<u32>, PgUrlError> {
        let Some((name, value)) = self.setting(name, local)? else {
            return Ok(None);
        };
        let number = value
            .parse()
            .ok()
            .filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
        number.map(Some).ok_or(PgUrlError::Number { name, unit })
    }
}

fn position(name: &str) -> Option<usize> {
    KNOWN.iter().position(|(known, _)| *known == name)
}

fn hint(name: &str) -> String {
    let known = KNOWN.map(|(known, _)| known);
    match nearest(name, known) {
        Some(known) => format!("did you mean {known}?"),
        None => format!("known are {}", known.join(", ")),
    }
}
