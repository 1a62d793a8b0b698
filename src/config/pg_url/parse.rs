//! From the text of a URL to a [`PgUrl`].
//!
//! The text is cut here rather than by a URL crate: `postgres://user@/db`, `postgres://:5433` and a socket's
//! directory as the host are good PostgreSQL URLs and bad web URLs.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::local::Local;
use super::query::Query;
use super::{DEFAULT_PORT, Host, PgUrl, PgUrlError};
use crate::config::Secret;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Reads a URL; what it leaves out and the machine decides is asked of `local`.
pub(super) fn parse(url: &str, local: &Local) -> Result<PgUrl, PgUrlError> {
    let Pieces {
        authority,
        path,
        query,
    } = Pieces::cut(url)?;
    let mut query = Query::parse(query)?;
    let Authority {
        user,
        password,
        host,
        port,
    } = Authority::parse(authority)?;
    let dbname = non_empty(decode(path, "database name")?);

    let port = match query.take("port") {
        Some(port) => parse_port(&port)?,
        None => port.unwrap_or(DEFAULT_PORT),
    };
    let host = match query.take("host") {
        Some(host) => Some(parse_host(host)?),
        None => host,
    };
    let host = host.unwrap_or_else(|| match (local.socket_directory)(port) {
        Some(directory) => Host::Unix(directory),
        None => Host::Tcp("localhost".to_owned()),
    });
    let user = query
        .take("user")
        .or(user)
        .or_else(local.user)
        .ok_or(PgUrlError::NoUser)?;
    let dbname = query.take("dbname").or(dbname).unwrap_or_else(|| user.clone());

    Ok(PgUrl {
        host,
        port,
        password: query.take("password").or(password).map(Secret::new),
        dbname,
        user,
        sslmode: query.take_sslmode()?,
        application_name: query.take("application_name"),
        connect_timeout: query.take_connect_timeout()?,
    })
}

/// The three parts of a URL behind its scheme, still encoded.
struct Pieces<'a> {
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Pieces<'a> {
    /// Cuts the URL, and refuses texts in which a reserved character of a password moved the cuts: what lies
    /// behind them would otherwise be shown in an error as a host, a port or a parameter.
    fn cut(url: &'a str) -> Result<Self, PgUrlError> {
        let rest = SCHEMES
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or(PgUrlError::Scheme)?;
        if rest.contains('#') {
            return Err(PgUrlError::Fragment);
        }
        let (authority, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if behind.contains('@') {
            return Err(PgUrlError::StrayAt);
        }
        let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.contains('/') {
            return Err(PgUrlError::Path);
        }
        Ok(Self {
            authority,
            path,
            query,
        })
    }
}

/// `user:password@host:port`, each part optional.
struct Authority {
    user: Option<String>,
    password: Option<String>,
    host: Option<Host>,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Result<Self, PgUrlError> {
        let (credentials, address) = text.rsplit_once('@').unwrap_or(("", text));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (host, port) = split_port(address)?;
        Ok(Self {
            user: non_empty(decode(user, "user name")?),
            password: non_empty(decode(password, "password")?),
            host: non_empty(decode(host, "host")?).map(parse_host).transpose()?,
            port: port.map(parse_port).transpose()?,
        })
    }
}

/// Cuts `host:port`; the colons of a bracketed IPv6 address are not cuts.
fn split_port(address: &str) -> Result<(&str, Option<&str>), PgUrlError> {
    if address.contains(',') {
        return Err(PgUrlError::SeveralHosts);
    }
    if !address.starts_with('[') {
        return Ok(match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        });
    }
    let end = address.find(']').ok_or(PgUrlError::Host)? + 1;
    match &address[end..] {
        "" => Ok((address, None)),
        rest => Ok((
            &address[..end],
            Some(rest.strip_prefix(':').ok_or(PgUrlError::Host)?),
        )),
    }
}

fn parse_port(text: &str) -> Result<u16, PgUrlError> {
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if only_digits && port > 0 => Ok(port),
        _ => Err(PgUrlError::Port),
    }
}

/// A socket's directory begins with a slash; an IPv6 address may stand in brackets or, in a parameter, without.
fn parse_host(text: String) -> Result<Host, PgUrlError> {
    if text.starts_with('/') {
        return Ok(Host::Unix(PathBuf::from(text)));
    }
    if text.contains(',') {
        return Err(PgUrlError::SeveralHosts);
    }
    let address = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    if address.is_some() || text.contains(':') {
        let address = address.unwrap_or(&text);
        let without_zone = address.split_once('%').map_or(address, |(before, _)| before);
        let _: Ipv6Addr = without_zone.parse().map_err(|_| PgUrlError::Host)?;
        return Ok(Host::Tcp(address.to_owned()));
    }
    if text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "/\\@[]<>\"".contains(c))
    {
        return Err(PgUrlError::Host);
    }
    Ok(Host::Tcp(text))
}

/// Percent-decodes one part. Stricter than RFC 3986 where PostgreSQL is: no NUL, and no lone `%`.
pub(super) fn decode(text: &str, part: &'static str) -> Result<String, PgUrlError> {
    let lone = text.match_indices('%').any(|(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if lone {
        return Err(PgUrlError::Escape { part });
    }
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| PgUrlError::NotUtf8 { part })?;
    if decoded.contains('\0') {
        return Err(PgUrlError::Nul { part });
    }
    Ok(decoded.into_owned())
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
