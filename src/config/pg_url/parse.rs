//! From the text of a URL to a [`PgUrl`].
//!
//! The text is cut here rather than by a URL crate: `postgres://user@/db`, `postgres://:5433` and a socket's
//! directory as the host are good PostgreSQL URLs and bad web URLs.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::hosts::Addresses;
use super::local::Local;
use super::passfile::{PassFile, Wanted};
use super::query::Query;
use super::{Host, PgUrl, PgUrlError, Server, TargetSessionAttrs, TcpOptions, TlsOptions};
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
        mut addresses,
    } = Authority::parse(authority)?;
    let dbname = non_empty(decode(path, "database name")?);

    let user = query
        .take("user")
        .or(user)
        .or_else(|| local.user.clone())
        .ok_or(PgUrlError::NoUser)?;
    let dbname = query.take("dbname").or(dbname).unwrap_or_else(|| user.clone());
    if let Some(hosts) = query.take("host") {
        addresses.set_hosts(&hosts)?;
    }
    if let Some(ports) = query.take("port") {
        addresses.set_ports(&ports)?;
    }
    let addresses = addresses.pairs(|port| match (local.socket_directory)(port) {
        Some(directory) => Host::Unix(directory),
        None => Host::Tcp("localhost".to_owned()),
    })?;
    let password = match query.take("password").or(password) {
        Some(password) => Some(password),
        None => query.setting("password", local)?.map(|(_, password)| password),
    };
    let passfile = query.setting("passfile", local)?.map(|(_, path)| path);
    let passfile = match password {
        Some(_) => None,
        None => PassFile::read(passfile, local)?,
    };
    let server = |(host, port)| {
        let wanted = Wanted {
            host: &host,
            port,
            dbname: &dbname,
            user: &user,
        };
        let found = passfile.as_ref().map(|file| file.find(&wanted)).transpose()?;
        let password = password.clone().or(found.flatten()).map(Secret::new);
        Ok(Server { host, port, password })
    };
    let connect_timeout = query.number("connect_timeout", "a whole number of seconds", local)?;

    let servers: Vec<Server> = addresses.into_iter().map(server).collect::<Result<_, _>>()?;

    Ok(PgUrl {
        target_session_attrs: query
            .choice("target_session_attrs", local)?
            .unwrap_or_else(|| TargetSessionAttrs::default_for(servers.len())),
        tls: TlsOptions::take(&mut query, local, &servers)?,
        servers,
        application_name: query.setting("application_name", local)?.map(|(_, name)| name),
        // Zero leaves it to us, as if it had not been said.
        connect_timeout: connect_timeout
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.into())),
        tcp: TcpOptions::take(&mut query, local)?,
        dbname,
        user,
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

/// `user:password@host:port,host:port`, each part optional.
struct Authority {
    user: Option<String>,
    password: Option<String>,
    addresses: Addresses,
}

impl Authority {
    fn parse(text: &str) -> Result<Self, PgUrlError> {
        let (credentials, address) = text.rsplit_once('@').unwrap_or(("", text));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let addresses = Addresses::of_authority(address)?;
        Ok(Self {
            user: non_empty(decode(user, "user name")?),
            password: non_empty(decode(password, "password")?),
            addresses,
        })
    }
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

pub(super) fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
