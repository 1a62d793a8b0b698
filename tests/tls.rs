//! Suite `tls`: TLS, authentication and the choice among servers, for the replication connection and for the store's sessions
//! alike, on a PostgreSQL that has an authority of its own.

mod end_to_end;
mod in_between;
mod servers;

use std::error::Error;

use pgstream::config::PgUrl;
use pgstream::demo::cluster::Cluster;
use pgstream::replication::Connection;
use pgstream::store;
use sqlx::Row;

use crate::support::database::values;
use crate::support::secured::{Authority, PASSWORD, secured, unsecured};

/// Names for which most servers here have a certificate.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// How a connection turned out: whether it was encrypted, or why there was none.
type Outcome = Result<bool, String>;

fn url(cluster: &Cluster, role: &str, parameters: &str) -> PgUrl {
    let port = cluster.port();
    let text = format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/postgres?{parameters}");
    PgUrl::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What the replication connection makes of a URL.
async fn replication(url: &PgUrl) -> Outcome {
    let opened = Connection::open(url).await;
    opened
        .map(|connection| connection.is_encrypted())
        .map_err(|error| with_causes(&error))
}

/// What the store makes of it: what the server says of a session of its pool.
async fn pool(url: &PgUrl) -> Outcome {
    let pool = store::connect(url).await.map_err(|error| with_causes(&error))?;
    let row = sqlx::query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .fetch_one(&pool)
        .await
        .map_err(|error| with_causes(&error))?;
    pool.close().await;
    Ok(row.get(0))
}

/// Both have to come to what is expected: encrypted or not, or an error that says this.
async fn assert_outcome(url: &PgUrl, expected: Result<bool, &str>) {
    for (who, outcome) in [("replication", replication(url).await), ("pool", pool(url).await)] {
        match (&outcome, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{who}: {url}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{who}: {url}: {found}"),
            _ => panic!("{who}: {url}: {outcome:?}, and not {expected:?}"),
        }
        if let Err(text) = outcome {
            assert!(!text.contains(PASSWORD), "{text}");
        }
    }
}

#[tokio::test]
async fn every_mode_with_the_right_authority_with_another_and_with_none() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cluster = secured(&authority, &NAMES, &[]).await;
    let right = format!("&sslrootcert={}", authority.root());
    let wrong = format!("&sslrootcert={}", other.root());
    let untrusted = Err("none of the authorities that are trusted has signed it. The authorities in");
    for (parameters, expected) in [
        ("sslmode=disable".to_owned(), Ok(false)),
        ("sslmode=allow".to_owned(), Ok(false)),
        ("sslmode=prefer".to_owned(), Ok(true)),
        (String::new(), Ok(true)),
        (format!("sslmode=prefer{wrong}"), Ok(true)),
        ("sslmode=require".to_owned(), Ok(true)),
        (format!("sslmode=require{right}"), Ok(true)),
        (format!("sslmode=require{wrong}"), untrusted),
        (format!("sslmode=verify-ca{right}"), Ok(true)),
        (format!("sslmode=verify-ca{wrong}"), untrusted),
        (format!("sslmode=verify-full{right}"), Ok(true)),
        (format!("sslmode=verify-full{wrong}"), untrusted),
        // Nobody public has signed it.
        ("sslrootcert=system".to_owned(), Err("sslrootcert")),
    ] {
        assert_outcome(&url(&cluster, "streamer", &parameters), expected).await;
    }
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let authority = Authority::new();
    let cluster = secured(&authority, &["db.example.org"], &[]).await;
    let root = authority.root();
    for (mode, expected) in [
        ("require", Ok(true)),
        ("verify-ca", Ok(true)),
        ("verify-full", Err("is not for \"127.0.0.1\" but for")),
    ] {
        let parameters = format!("sslmode={mode}&sslrootcert={root}");
        assert_outcome(&url(&cluster, "streamer", &parameters), expected).await;
    }
    let full = url(
        &cluster,
        "streamer",
        &format!("sslmode=verify-full&sslrootcert={root}"),
    );
    let text = replication(&full).await.unwrap_err();
    assert!(text.contains("db.example.org"), "{text}");
}

#[tokio::test]
async fn a_server_without_tls() {
    let authority = Authority::new();
    let cluster = unsecured().await;
    let root = authority.root();
    for (parameters, expected) in [
        ("sslmode=prefer".to_owned(), Ok(false)),
        ("sslmode=allow".to_owned(), Ok(false)),
        (
            "sslmode=require".to_owned(),
            Err("has no TLS, and sslmode is require"),
        ),
        (
            format!("sslmode=verify-ca&sslrootcert={root}"),
            Err("has no TLS, and sslmode is verify-ca"),
        ),
        (
            format!("sslmode=verify-full&sslrootcert={root}"),
            Err("has no TLS, and sslmode is verify-full"),
        ),
        (
            "sslmode=prefer&channel_binding=require".to_owned(),
            Err("the connection is not encrypted"),
        ),
    ] {
        assert_outcome(&url(&cluster, "streamer", &parameters), expected).await;
    }
}

#[tokio::test]
async fn where_the_server_lets_us_in_one_way_only_the_modes_that_may_take_it() {
    let authority = Authority::new();
    let cluster = secured(&authority, &NAMES, &[]).await;
    for (role, mode, expected) in [
        ("unencrypted", "prefer", Ok(false)),
        ("unencrypted", "require", Err("no pg_hba.conf entry")),
        ("encrypted", "allow", Ok(true)),
        ("encrypted", "disable", Err("no pg_hba.conf entry")),
    ] {
        let url = url(&cluster, role, &format!("sslmode={mode}"));
        assert_outcome(&url, expected).await;
    }
}

#[tokio::test]
async fn where_tls_was_the_last_hope_the_first_refusal_is_told() {
    let cluster = unsecured().await;
    let url = url(&cluster, "encrypted", "sslmode=allow");
    assert_outcome(&url, Err("no pg_hba.conf entry")).await;
}

#[tokio::test]
async fn certificates_of_ours() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cluster = secured(&authority, &NAMES, &[]).await;
    let verified = format!("sslmode=verify-full&sslrootcert={}", authority.root());
    for (client, expected) in [
        (authority.client("certified"), Ok(true)),
        (String::new(), Err("requires a valid client certificate")),
        (
            authority.client("somebody"),
            Err("certificate authentication failed"),
        ),
        (
            other.client("certified"),
            Err("PostgreSQL refused our certificate"),
        ),
    ] {
        let url = url(&cluster, "certified", &format!("{verified}&{client}"));
        assert_outcome(&url, expected).await;
    }
}

#[tokio::test]
async fn channel_binding_is_required_of_every_way_to_authenticate() {
    let authority = Authority::new();
    let cluster = secured(&authority, &NAMES, &[]).await;
    for (role, expected) in [
        ("streamer", Ok(true)),
        ("hashed", Err("an MD5 hash of the password was asked for")),
        ("sent", Err("the password itself was asked for")),
        ("trusted", Err("no password was asked for")),
    ] {
        for sslmode in ["allow", "prefer", "require"] {
            let parameters = format!("sslmode={sslmode}&channel_binding=require");
            assert_outcome(&url(&cluster, role, &parameters), expected).await;
        }
        for binding in ["prefer", "disable"] {
            let parameters = format!("sslmode=require&channel_binding={binding}");
            assert_outcome(&url(&cluster, role, &parameters), Ok(true)).await;
        }
    }
}

#[tokio::test]
async fn tls_at_once_needs_a_later_server() {
    let authority = Authority::new();
    let cluster = secured(&authority, &NAMES, &[]).await;
    let mut session = crate::support::database::session(&cluster).await;
    let version: Vec<String> = values(&mut session, "SHOW server_version_num").await;
    let expected = if version[0].parse::<u32>().unwrap() >= 170_000 {
        Ok(true)
    } else {
        Err("sslnegotiation=direct needs PostgreSQL 17 or later")
    };
    let parameters = format!(
        "sslmode=verify-full&sslnegotiation=direct&sslrootcert={}",
        authority.root()
    );
    assert_outcome(&url(&cluster, "streamer", &parameters), expected).await;
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let authority = Authority::new();
    let cluster = secured(&authority, &NAMES, &[]).await;
    for role in ["streamer", "hashed", "sent"] {
        let text = format!(
            "postgres://{role}:wrong@127.0.0.1:{}/postgres?sslmode=require",
            cluster.port()
        );
        let url = PgUrl::parse(&text).unwrap();
        assert_outcome(&url, Err("check the user, and the password in the URL")).await;
        let error = Connection::open(&url).await.unwrap_err();
        assert!(error.is_permanent() && error.code() == Some("28P01"), "{error}");
    }
}
