//! The hosts and ports of a URL, of which there may be several.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::parse::{decode, non_empty};
use super::{DEFAULT_PORT, Host, PgUrlError};

/// Hosts and ports as they are written. A text that names neither leaves both empty.
#[derive(Default)]
pub(super) struct Addresses {
    hosts: Vec<Host>,
    ports: Vec<Option<u16>>,
}

impl Addresses {
    /// Reads `host:port,host:port` as it stands between user and database, still encoded.
    pub(super) fn of_authority(text: &str) -> Result<Self, PgUrlError> {
        let mut addresses = Self::default();
        let is_list = text.contains(',');
        for address in text.split(',') {
            let (host, port) = split_port(address)?;
            match non_empty(decode(host, "host")?) {
                Some(host) => addresses.hosts.push(parse_host(host)?),
                None if is_list => return Err(PgUrlError::EmptyHost),
                None => {}
            }
            addresses.ports.push(port.map(parse_port).transpose()?);
        }
        Ok(addresses)
    }

    /// Takes the parameter `host`, which wins over what stood before.
    pub(super) fn set_hosts(&mut self, text: &str) -> Result<(), PgUrlError> {
        let hosts = text.split(',').map(|host| match host {
            "" => Err(PgUrlError::EmptyHost),
            host => parse_host(host.to_owned()),
        });
        self.hosts = hosts.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Takes the parameter `port`, which wins over what stood before.
    pub(super) fn set_ports(&mut self, text: &str) -> Result<(), PgUrlError> {
        let ports = text.split(',').map(|port| match port {
            "" if text.contains(',') => Ok(None),
            port => parse_port(port).map(Some),
        });
        self.ports = ports.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The pairs: one port is that of all hosts, several belong to the hosts in turn. Where no host is named, it is asked
    /// for, knowing the port.
    pub(super) fn pairs(self, unnamed: impl Fn(u16) -> Host) -> Result<Vec<(Host, u16)>, PgUrlError> {
        let Self { hosts, ports } = self;
        let port = |index: usize| {
            let port = if ports.len() > 1 {
                ports.get(index)
            } else {
                ports.first()
            };
            port.copied().flatten().unwrap_or(DEFAULT_PORT)
        };
        if ports.len() > 1 && ports.len() != hosts.len().max(1) {
            return Err(PgUrlError::PortCount {
                hosts: hosts.len().max(1),
                ports: ports.len(),
            });
        }
        if hosts.is_empty() {
            return Ok(vec![(unnamed(port(0)), port(0))]);
        }
        let pairs = hosts.into_iter().enumerate();
        Ok(pairs.map(|(index, host)| (host, port(index))).collect())
    }
}

/// Cuts `host:port`; the colons of a bracketed IPv6 address are not cuts.
fn split_port(address: &str) -> Result<(&str, Option<&str>), PgUrlError> {
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
    let address = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    if address.is_some() || text.contains(':') {
        let address = address.unwrap_or(&text);
        let without_zone = address.split_once('%').map_or(address, |(before, _)| before);
        let _: Ipv6Addr = without_zone.parse().map_err(|_| PgUrlError::Host)?;
        return Ok(Host::Tcp(address.to_owned()));
    }
    if text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "/\\@[]<>\",".contains(c))
    {
        return Err(PgUrlError::Host);
    }
    Ok(Host::Tcp(text))
}
