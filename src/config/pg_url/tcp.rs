//! What a URL says of the TCP connection under a session.

use std::time::Duration;

use super::PgUrlError;
use super::local::Local;
use super::query::Query;

/// What the system takes: more than these would make every connection fail.
const MAX_SECONDS: u32 = 32_767;
const MAX_COUNT: u32 = 127;
const MAX_MILLISECONDS: u32 = i32::MAX as u32;

/// How it is noticed that a peer is gone which said no farewell. What is not given is left to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Whether the system asks a silent peer if it is still there.
    pub keepalives: bool,
    /// After how much silence it asks.
    pub idle: Option<Duration>,
    /// How long it waits before it asks again.
    pub interval: Option<Duration>,
    /// After how many questions without an answer the connection is broken.
    pub count: Option<u32>,
    /// How long what was sent may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            keepalives: true,
            idle: None,
            interval: None,
            count: None,
            user_timeout: None,
        }
    }
}

impl TcpOptions {
    pub(super) fn take(query: &mut Query, local: &Local) -> Result<Self, PgUrlError> {
        let keepalives = query.number("keepalives", "0 or 1", local)?;
        let seconds = |number: u32| Duration::from_secs(number.into());
        let mut number = |name, unit, most| match query.number(name, unit, local)? {
            Some(number) if number > most => Err(PgUrlError::Number { name, unit }),
            number => Ok(number.filter(|number| *number > 0)),
        };
        const SECONDS: &str = "a whole number of seconds up to 32767";
        Ok(Self {
            keepalives: keepalives != Some(0),
            idle: number("keepalives_idle", SECONDS, MAX_SECONDS)?.map(seconds),
            interval: number("keepalives_interval", SECONDS, MAX_SECONDS)?.map(seconds),
            count: number("keepalives_count", "a whole number up to 127", MAX_COUNT)?,
            user_timeout: number(
                "tcp_user_timeout",
                "a whole number of milliseconds up to 2147483647",
                MAX_MILLISECONDS,
            )?
            .map(|number| Duration::from_millis(number.into())),
        })
    }
}
