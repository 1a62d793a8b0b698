//! Which server, which of its addresses, with TLS or without.

use std::time::Duration;

use pgstream_proto::frontend::StartupMessage;
use tokio::time::timeout;

use super::address::{self, Address};
use super::start_up::{Opened, start_up};
use super::{ConnectError, TransportError};
use crate::config::{Encryption, PgUrl, Server, TargetSessionAttrs};

/// How long the attempt to connect to one address may take, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a session on the first server of the URL, at the first of its addresses, that lets us in and is what
/// `target_session_attrs` asks for. Nothing is remembered: the next call begins with the first server again.
///
/// # Errors
///
/// As with libpq, an error that will not heal ([`ConnectError::is_permanent`]), such as a wrong password or a certificate that is
/// not trusted, ends the search: a server that happens to let us in would hide it. Otherwise what was wrong with each.
pub async fn open(url: &PgUrl, message: &StartupMessage) -> Result<Opened, ConnectError> {
    let (opened, _) = open_beginning_with(0, url, message).await?;
    Ok(opened)
}

/// Does the same, but begins with the server at this place of the list, which is the one that a caller has found before. Says
/// which one it was this time.
///
/// # Errors
///
/// As [`open`].
pub async fn open_beginning_with(
    first: usize,
    url: &PgUrl,
    message: &StartupMessage,
) -> Result<(Opened, usize), ConnectError> {
    let mut failures = Vec::new();
    let servers = url.servers.iter().enumerate();
    let (known, others): (Vec<_>, Vec<_>) = servers.partition(|(place, _)| *place == first);
    for attrs in url.target_session_attrs.rounds() {
        failures.clear();
        for (place, server) in known.iter().chain(&others) {
            match of_server(url, server, message, *attrs).await {
                Ok(opened) => return Ok((opened, *place)),
                Err(error) if error.is_permanent() => return Err(error),
                Err(error) => failures.push(error),
            }
        }
    }
    Err(ConnectError::of_all(failures))
}

async fn of_server(
    url: &PgUrl,
    server: &Server,
    message: &StartupMessage,
    attrs: TargetSessionAttrs,
) -> Result<Opened, ConnectError> {
    let within = url.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let mut failures = Vec::new();
    for address in address::of(server, within).await? {
        let ways = url.tls.ways(server);
        let mut refused = None;
        for way in ways {
            let starting = start_up(url, (server, &address), *way, message, attrs);
            match limited(within, &address, starting).await {
                // That there is no other way is no news.
                Err(ConnectError::Transport(TransportError::NoTls { .. })) if refused.is_some() => {}
                // Of two refusals, the one with TLS says more.
                Err(error) if error.may_succeed_otherwise(*way) => {
                    if refused.is_none() || *way != Encryption::Plain {
                        refused = Some(error);
                    }
                }
                Err(error) if !error.is_permanent() => {
                    refused = Some(error);
                    break;
                }
                outcome => return outcome,
            }
        }
        match refused {
            Some(error) if error.is_permanent() => return Err(error),
            error => failures.extend(error),
        }
    }
    Err(ConnectError::of_all(failures))
}

async fn limited(
    within: Duration,
    address: &Address,
    starting: impl Future<Output = Result<Opened, ConnectError>>,
) -> Result<Opened, ConnectError> {
    timeout(within, starting).await.unwrap_or_else(|_| {
        Err(ConnectError::Transport(TransportError::Timeout {
            address: address.to_string(),
            within,
        }))
    })
}
