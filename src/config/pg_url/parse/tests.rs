//! URLs of all forms, with what the machine adds to them.

mod any;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::config::pg_url::choices::Choice;
use crate::config::{
    ChannelBinding, ClientCertificate, Roots, SslMode, SslNegotiation, TargetSessionAttrs, Verification,
};

/// A machine with one user, and nothing that a URL could take from it.
fn local() -> Local {
    Local {
        user: Some("ada".to_owned()),
        home: None,
        environment: BTreeMap::new(),
        socket_directory: |_| None,
    }
}

fn with_environment(variables: &[(&str, &str)]) -> Local {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.into()));
    Local {
        environment: variables.collect(),
        ..local()
    }
}

fn read(url: &str) -> Result<PgUrl, PgUrlError> {
    parse(url, &local())
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
            servers: vec![Server {
                host: tcp("localhost"),
                port: 5432,
                password: Some(Secret::new("postgres")),
            }],
            user: "postgres".to_owned(),
            dbname: "postgres".to_owned(),
            tls: TlsOptions {
                mode: SslMode::Disable,
                ..TlsOptions::default()
            },
            target_session_attrs: TargetSessionAttrs::Any,
            application_name: None,
            connect_timeout: None,
            tcp: TcpOptions::default(),
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
        let [server] = url.servers.as_slice() else {
            panic!("{text}: {url}");
        };
        let found = (
            server.host.clone(),
            server.port,
            url.user.as_str(),
            url.dbname.as_str(),
        );
        assert_eq!(found, (host, port, user, dbname), "{text}");
    }
}

#[test]
fn a_server_of_this_machine_is_met_on_its_socket() {
    let local = Local {
        socket_directory: |port| Some(PathBuf::from(format!("/run/{port}"))),
        ..local()
    };
    assert_eq!(
        parse("postgres://bob@:5433/shop", &local).unwrap().servers[0].host,
        unix("/run/5433")
    );
    assert_eq!(
        parse("postgres://localhost/shop", &local).unwrap().servers[0].host,
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
        assert_eq!(
            url.servers[0].password.as_ref().map(Secret::expose),
            password,
            "{text}"
        );
    }
}

#[test]
fn parameters() {
    let url = read("postgres://h?application_name=my%20app&connect_timeout=10").unwrap();
    assert_eq!(url.tls.mode, SslMode::Prefer);
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
        ("postgres://a,,b/d", "without empty places"),
        ("postgres:///d?host=a,", "without empty places"),
        ("postgres://a,b,c/d?port=1,2", "names 3 hosts and 2 ports"),
        ("postgres:///d?port=1,2", "names 1 hosts and 2 ports"),
        ("postgres://a%2Cb/d", "write localhost"),
        ("postgres://h/a/b", "write a '/' in the database name as %2F"),
        ("postgres://h?sslmod=disable", "did you mean sslmode?"),
        ("postgres://h?gssencmode=disable", "known are host, port"),
        ("postgres://h?sslmode", "write sslmode=value"),
        (
            "postgres://h?sslmode=disable&sslmode=prefer",
            "sslmode is given twice",
        ),
        (
            "postgres://h?sslmode=off",
            "write disable, allow, prefer, require, verify-ca or verify-full",
        ),
        (
            "postgres://h?connect_timeout=10s",
            "connect_timeout is not a whole number of seconds",
        ),
        ("postgres://h?password=a&hunter2", "write it as %26"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hun"), "{text}: {error}");
    }
}

#[test]
fn lists_of_hosts() {
    let one = |host: &str, port| (tcp(host), port);
    for (text, expected) in [
        ("postgres://a,b:5433/d", vec![one("a", 5432), one("b", 5433)]),
        ("postgres://u:p@[::1]:1,b:2", vec![one("::1", 1), one("b", 2)]),
        ("postgres:///d?host=a,b&port=1,2", vec![one("a", 1), one("b", 2)]),
        (
            "postgres:///d?host=a,b&port=,2",
            vec![one("a", 5432), one("b", 2)],
        ),
        ("postgres:///d?host=a,b&port=7", vec![one("a", 7), one("b", 7)]),
        ("postgres://x:7?host=a,b", vec![one("a", 7), one("b", 7)]),
        (
            "postgres://%2Ftmp,b/d",
            vec![(unix("/tmp"), 5432), one("b", 5432)],
        ),
    ] {
        let url = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let servers = url.servers.iter();
        let found: Vec<_> = servers.map(|server| (server.host.clone(), server.port)).collect();
        assert_eq!(found, expected, "{text}");
        assert_eq!(
            read(&url.to_string()).unwrap().servers.len(),
            expected.len(),
            "{url}"
        );
    }
    let url = read("postgres://a,b?target_session_attrs=read-write").unwrap();
    assert_eq!(url.target_session_attrs, TargetSessionAttrs::ReadWrite);
}

#[test]
fn what_is_verified_and_by_whom() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    fs::create_dir(&folder).unwrap();
    let local = Local {
        home: Some(home.path().to_owned()),
        ..local()
    };
    let tls = |text: &str| parse(&format!("postgres://h?{text}"), &local).map(|url| url.tls);
    let verification = |text: &str| {
        tls(text)
            .map(|tls| tls.verification())
            .map_err(|error| error.to_string())
    };
    use Verification::*;
    let before = [
        ("", Ok(Nothing)),
        ("sslmode=require", Ok(Nothing)),
        ("sslmode=require&sslrootcert=/ca", Ok(Authority)),
        ("sslmode=prefer&sslrootcert=/ca", Ok(Nothing)),
        ("sslmode=verify-ca&sslrootcert=/ca", Ok(Authority)),
        ("sslmode=verify-full&sslrootcert=/ca", Ok(AuthorityAndName)),
        ("sslrootcert=system", Ok(AuthorityAndName)),
        ("sslmode=verify-ca", Err("put it at")),
        ("sslmode=verify-full", Err("write sslrootcert=system")),
        (
            "sslmode=require&sslrootcert=system",
            Err("needs sslmode=verify-full, and sslmode is require"),
        ),
        (
            "sslmode=prefer&sslnegotiation=direct",
            Err("needs sslmode=require"),
        ),
        ("sslmode=disable&channel_binding=require", Err("needs TLS")),
        ("sslcert=/c", Err("name its file with sslkey")),
    ];
    for (text, expected) in before {
        match (verification(text), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
    fs::write(folder.join("postgresql.crt"), "").unwrap();
    let error = tls("").unwrap_err().to_string();
    assert!(error.contains("postgresql.crt has no key"), "{error}");
    // Where there is no TLS, what lies around or is set for others does not matter.
    assert_eq!(tls("sslmode=disable").unwrap().client, None);
    let mut elsewhere = local.clone();
    elsewhere
        .environment
        .insert("PGSSLMODE".to_owned(), "verify-full".into());
    assert!(parse("postgres:///d?host=/run", &elsewhere).is_ok());
    assert!(parse("postgres:///d?host=/run,h", &elsewhere).is_err());
    for name in ["root.crt", "postgresql.key"] {
        fs::write(folder.join(name), "").unwrap();
    }
    assert_eq!(verification("sslmode=require"), Ok(Authority));
    assert_eq!(verification("sslmode=verify-full"), Ok(AuthorityAndName));
    let client = tls("").unwrap().client.unwrap();
    assert_eq!(client.key, folder.join("postgresql.key"));
    let client = tls("sslcert=/c&sslkey=/k").unwrap().client.unwrap();
    assert_eq!(client.certificate, PathBuf::from("/c"));
    fs::write(folder.join("root.crl"), "").unwrap();
    let error = tls("sslmode=verify-full").unwrap_err().to_string();
    assert!(error.contains("root.crl"), "{error}");
    for text in ["", "sslmode=disable", "sslmode=verify-full&sslrootcert=/ca"] {
        assert!(tls(text).is_ok(), "{text}");
    }
}

#[test]
fn what_the_environment_asks_for_is_done_or_refused() {
    for (variable, value, is_refused) in [
        ("PGSSLCRL", "/crl", true),
        ("PGSSLCRLDIR", "/crl", true),
        ("PGREQUIREAUTH", "scram-sha-256", true),
        ("PGSSLMINPROTOCOLVERSION", "tlsv1.2", false),
        ("PGSSLMINPROTOCOLVERSION", "TLSv1.3", true),
        ("PGGSSENCMODE", "prefer", false),
        ("PGGSSENCMODE", "require", true),
        ("PGREQUIRESSL", "0", false),
        ("PGREQUIRESSL", "1", true),
        ("PGOPTIONS", "-c x=1", false),
    ] {
        let found = parse("postgres://h", &with_environment(&[(variable, value)]));
        assert_eq!(found.is_err(), is_refused, "{variable}={value}");
        if let Err(error) = found {
            assert!(error.to_string().contains(variable), "{error}");
        }
    }
}

#[test]
fn variables_stand_in_for_parameters() {
    let local = with_environment(&[
        ("PGSSLMODE", "require"),
        ("PGSSLROOTCERT", "/ca"),
        ("PGSSLCERT", "/c"),
        ("PGSSLKEY", "/k"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGCHANNELBINDING", "require"),
        ("PGTARGETSESSIONATTRS", "primary"),
        ("PGCONNECT_TIMEOUT", "7"),
        ("PGAPPNAME", "shop"),
        ("PGPASSWORD", "hunter2"),
        ("PGHOST", "elsewhere"),
        ("PGPORT", "1"),
        ("PGUSER", "eve"),
        ("PGDATABASE", "other"),
    ]);
    let url = parse("postgres://h", &local).unwrap();
    assert_eq!(
        url.to_string(),
        "postgres://ada:***@h:5432/ada?sslmode=require&sslrootcert=/ca&sslcert=/c&sslkey=/k&sslnegotiation=direct\
         &channel_binding=require&target_session_attrs=primary&application_name=shop&connect_timeout=7"
    );
    let url = parse(
        "postgres://u:own@h?sslmode=verify-full&application_name=x",
        &local,
    )
    .unwrap();
    assert_eq!(url.tls.mode, SslMode::VerifyFull);
    assert_eq!(url.application_name.as_deref(), Some("x"));
    assert_eq!(url.servers[0].password.as_ref().map(Secret::expose), Some("own"));
    for (name, value, expected) in [
        ("PGSSLMODE", "on", "PGSSLMODE is \"on\""),
        (
            "PGCONNECT_TIMEOUT",
            "soon",
            "PGCONNECT_TIMEOUT is not a whole number",
        ),
    ] {
        let error = parse("postgres://h", &with_environment(&[(name, value)]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn each_server_has_its_password_of_the_password_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwords");
    fs::write(&path, "a:*:*:*:first\nb:*:*:*:second\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let path = path.display().to_string();
    let local = with_environment(&[("PGPASSFILE", &path)]);
    let passwords = |url: &PgUrl| {
        let passwords = url.servers.iter().map(|server| server.password.clone());
        let passwords = passwords.map(|password| password.map(|password| password.expose().to_owned()));
        passwords.collect::<Vec<_>>()
    };
    let url = parse("postgres://a,b,c/d", &local).unwrap();
    let found = passwords(&url);
    assert_eq!(found, [Some("first".to_owned()), Some("second".to_owned()), None]);
    assert!(!format!("{url} {url:?}").contains("first"));
    let url = parse("postgres://u:own@a,b/d", &local).unwrap();
    assert_eq!(passwords(&url), vec![Some("own".to_owned()); 2]);
    let url = read(&format!("postgres://a/d?passfile={path}")).unwrap();
    assert_eq!(passwords(&url), [Some("first".to_owned())]);
}

#[test]
fn how_a_dead_peer_is_noticed() {
    let url =
        read("postgres://h?keepalives_idle=5&keepalives_interval=2&keepalives_count=3&tcp_user_timeout=9000")
            .unwrap();
    assert_eq!(
        url.tcp,
        TcpOptions {
            keepalives: true,
            idle: Some(Duration::from_secs(5)),
            interval: Some(Duration::from_secs(2)),
            count: Some(3),
            user_timeout: Some(Duration::from_secs(9)),
        }
    );
    assert_eq!(read(&url.to_string()).unwrap(), url);
    assert!(!read("postgres://h?keepalives=0").unwrap().tcp.keepalives);
    for (parameter, most) in [
        ("keepalives_idle", 32_767),
        ("keepalives_interval", 32_767),
        ("keepalives_count", 127),
        ("tcp_user_timeout", i32::MAX as u32),
    ] {
        assert!(
            read(&format!("postgres://h?{parameter}={most}")).is_ok(),
            "{parameter}"
        );
        let error = read(&format!("postgres://h?{parameter}={}", most + 1)).unwrap_err();
        assert!(error.to_string().contains(&format!("up to {most}")), "{error}");
    }
}

#[test]
fn a_user_without_a_name_has_to_be_named() {
    let local = Local {
        user: None,
        ..local()
    };
    assert_eq!(parse("postgres://h", &local), Err(PgUrlError::NoUser));
    assert!(parse("postgres://bob@h", &local).is_ok());
}
