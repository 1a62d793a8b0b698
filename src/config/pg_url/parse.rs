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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::SslMode;

    const LOCAL: Local = Local {
        user: || Some("ada".to_owned()),
        socket_directory: |_| None,
    };

    fn read(url: &str) -> Result<PgUrl, PgUrlError> {
        parse(url, &LOCAL)
    }

    fn tcp(host: &str) -> Host {
        Host::Tcp(host.to_owned())
    }

    fn unix(directory: &str) -> Host {
        Host::Unix(PathBuf::from(directory))
    }

    #[test]
    fn the_tutorials_url() {
        let url = read("postgres://postgres:postgres@localhost:5432?sslmode=disable").unwrap();
        assert_eq!(
            url,
            PgUrl {
                host: tcp("localhost"),
                port: 5432,
                user: "postgres".to_owned(),
                password: Some(Secret::new("postgres")),
                dbname: "postgres".to_owned(),
                sslmode: SslMode::Disable,
                application_name: None,
                connect_timeout: None,
            }
        );
        assert_eq!(
            url.to_string(),
            "postgres://postgres:***@localhost:5432/postgres?sslmode=disable"
        );
    }

    #[test]
    fn where_and_as_whom() {
        // URL, host, port, user, database
        let cases = [
            (
                "postgresql://bob@db.example.org/shop",
                tcp("db.example.org"),
                5432,
                "bob",
                "shop",
            ),
            ("postgres://db:5433", tcp("db"), 5433, "ada", "ada"),
            ("postgres://", tcp("localhost"), 5432, "ada", "ada"),
            ("postgres:///shop", tcp("localhost"), 5432, "ada", "shop"),
            ("postgres://bob@/shop", tcp("localhost"), 5432, "bob", "shop"),
            ("postgres://:5433/", tcp("localhost"), 5433, "ada", "ada"),
            (
                "postgres://bob@[2001:db8::7]:5433/shop",
                tcp("2001:db8::7"),
                5433,
                "bob",
                "shop",
            ),
            (
                "postgres://[fe80::1%25eth0]",
                tcp("fe80::1%eth0"),
                5432,
                "ada",
                "ada",
            ),
            (
                "postgres://%2Fvar%2Frun:5433/shop",
                unix("/var/run"),
                5433,
                "ada",
                "shop",
            ),
            (
                "postgres:///shop?host=/tmp&port=5433",
                unix("/tmp"),
                5433,
                "ada",
                "shop",
            ),
            (
                "postgres://localhost/shop?host=%2Ftmp&user=bob",
                unix("/tmp"),
                5432,
                "bob",
                "shop",
            ),
            (
                "postgres:///?host=::1&dbname=shop",
                tcp("::1"),
                5432,
                "ada",
                "shop",
            ),
            (
                "postgres://b%C3%B6b%40x:p@h/my%2Fdb",
                tcp("h"),
                5432,
                "böb@x",
                "my/db",
            ),
        ];
        for (text, host, port, user, dbname) in cases {
            let url = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found = (url.host, url.port, url.user.as_str(), url.dbname.as_str());
            assert_eq!(found, (host, port, user, dbname), "{text}");
        }
    }

    #[test]
    fn a_server_of_this_machine_is_met_on_its_socket() {
        let local = Local {
            socket_directory: |port| Some(PathBuf::from(format!("/run/{port}"))),
            ..LOCAL
        };
        assert_eq!(
            parse("postgres://bob@:5433/shop", &local).unwrap().host,
            unix("/run/5433")
        );
        assert_eq!(
            parse("postgres://localhost/shop", &local).unwrap().host,
            tcp("localhost")
        );
    }

    #[test]
    fn passwords() {
        for (text, password) in [
            ("postgres://u:p%40ss%2Fw%3Ard@h", Some("p@ss/w:rd")),
            ("postgres://u:p@ss:w@h", Some("p@ss:w")),
            ("postgres://u:@h", None),
            ("postgres://u@h?password=a+b%26c", Some("a+b&c")),
        ] {
            let url = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.password.as_ref().map(Secret::expose), password, "{text}");
        }
    }

    #[test]
    fn parameters() {
        let url = read("postgres://h?application_name=my%20app&connect_timeout=10").unwrap();
        assert_eq!(url.sslmode, SslMode::Prefer);
        assert_eq!(url.application_name.as_deref(), Some("my app"));
        assert_eq!(url.connect_timeout, Some(Duration::from_secs(10)));
        assert_eq!(
            read("postgres://h?connect_timeout=0").unwrap().connect_timeout,
            None
        );
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, expected) in [
            ("", "write postgres://"),
            ("mysql://h/d", "write postgres://"),
            ("host=localhost user=postgres", "write postgres://"),
            ("postgres://u:hunter2#x@h/d", "write %23"),
            ("postgres://u:hun/ter2@h/d", "'/' as %2F"),
            ("postgres://u:hunter2?x=y@h/d", "'?' as %3F"),
            ("postgres://u:hunter2%@h", "the password has a '%'"),
            ("postgres://u:hunter2%zz@h", "write a plain '%' as %25"),
            ("postgres://u:hunter2%ff@h", "the password is not UTF-8"),
            ("postgres://u%00x:hunter2@h", "the user name contains a NUL"),
            ("postgres://u:hunter2@h:54a", "from 1 to 65535"),
            ("postgres://h:0", "from 1 to 65535"),
            ("postgres://h:+5432", "from 1 to 65535"),
            ("postgres://h:65536", "from 1 to 65535"),
            ("postgres://u:hunter2@[::1", "write localhost"),
            ("postgres://[::1]5432", "write localhost"),
            ("postgres://[nonsense]", "write localhost"),
            ("postgres://my host/d", "write localhost"),
            ("postgres://a,b/d", "name the primary alone"),
            ("postgres:///d?host=a,b", "name the primary alone"),
            ("postgres://h/a/b", "write a '/' in the database name as %2F"),
            ("postgres://h?sslmod=disable", "did you mean sslmode?"),
            ("postgres://h?target_session_attrs=any", "known are host, port"),
            ("postgres://h?sslmode", "write sslmode=value"),
            (
                "postgres://h?sslmode=disable&sslmode=prefer",
                "sslmode is given twice",
            ),
            ("postgres://h?sslmode=off", "write disable or prefer"),
            (
                "postgres://h?connect_timeout=10s",
                "write for example connect_timeout=10",
            ),
            ("postgres://h?password=a&hunter2", "write it as %26"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("hun"), "{text}: {error}");
        }
    }

    #[test]
    fn stricter_modes_are_refused_and_never_downgraded() {
        for mode in ["allow", "require", "verify-ca", "verify-full"] {
            let error = read(&format!("postgres://h?sslmode={mode}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("sslmode={mode}")), "{error}");
            assert!(error.contains("TLS, which is not available yet"), "{error}");
        }
    }

    #[test]
    fn a_user_without_a_name_has_to_be_named() {
        let local = Local {
            user: || None,
            ..LOCAL
        };
        assert_eq!(parse("postgres://h", &local), Err(PgUrlError::NoUser));
        assert!(parse("postgres://bob@h", &local).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(postgres://)?[a-z0-9:/?#@&=%\\[\\],. ]*") {
            let _ = read(&text);
        }

        #[test]
        fn what_is_printed_reads_the_same_again(
            user in "[^\0]{1,9}",
            dbname in "[^\0]{1,9}",
            host in "[a-z][a-z0-9.-]{0,9}|/[^\0]{0,9}|::1",
            port in 1u16..,
            application_name in proptest::option::of("[^\0]{1,9}"),
        ) {
            let host = if host.starts_with('/') { unix(&host) } else { tcp(&host) };
            let url = PgUrl {
                host, port, user, dbname, application_name,
                password: None,
                sslmode: SslMode::Disable,
                connect_timeout: None,
            };
            prop_assert_eq!(read(&url.to_string()), Ok(url));
        }
    }
}
