//! Several servers in one URL.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgstream::config::PgUrl;
use pgstream::demo::cluster::StopMode;
use pgstream::replication::Connection;
use pgstream::store::{self, PgPool};

use super::with_causes;
use crate::support::database::{SLOT, cluster, run, session};
use crate::support::look::look;
use crate::support::replica::Replica;
use crate::support::secured::{PASSWORD, unsecured};

/// A port of 127.0.0.1 on which nobody listens, as long as nobody takes it.
fn dead_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn url(ports: &[u16], parameters: &str) -> PgUrl {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    PgUrl::parse(&format!(
        "postgres://postgres@{}/postgres?{parameters}",
        hosts.join(",")
    ))
    .unwrap()
}

async fn chosen(url: &PgUrl) -> Result<String, String> {
    let opened = Connection::open(url).await;
    opened
        .map(|connection| connection.server().to_owned())
        .map_err(|error| with_causes(&error))
}

/// Whether the pool's sessions are on a stand-by.
async fn is_in_recovery(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(pool)
        .await
}

#[tokio::test]
async fn the_first_that_fits_is_taken() {
    let cluster = cluster(&[]);
    let replica = Replica::of(&cluster);
    let (dead, standby, primary) = (dead_port(), replica.port(), cluster.port());
    let named = |port: u16| Ok::<_, &str>(format!("127.0.0.1:{port}"));
    for (ports, attrs, expected) in [
        (vec![dead, primary], "any", named(primary)),
        (vec![dead, standby, primary], "any", named(standby)),
        (vec![standby, primary], "read-write", named(primary)),
        (vec![standby, primary], "primary", named(primary)),
        (vec![primary, standby], "read-only", named(standby)),
        (vec![primary, standby], "standby", named(standby)),
        (vec![primary, standby], "prefer-standby", named(standby)),
        (vec![primary, dead], "prefer-standby", named(primary)),
        (
            vec![standby, dead],
            "primary",
            Err("is a stand-by, and target_session_attrs is primary"),
        ),
        (vec![standby], "read-write", Err("is a stand-by")),
        (vec![primary], "standby", Err("is a primary")),
    ] {
        let url = url(&ports, &format!("sslmode=disable&target_session_attrs={attrs}"));
        match (chosen(&url).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{url}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }
    // Of several, the primary is meant where the URL does not say.
    let found = chosen(&url(&[standby, primary], "sslmode=disable")).await;
    assert_eq!(found, Ok(format!("127.0.0.1:{primary}")));
    let error = Connection::open(&url(&[standby, dead], "sslmode=disable"))
        .await
        .unwrap_err();
    assert!(
        !error.is_permanent(),
        "a stand-by may be promoted, and the other server come back"
    );
    let text = error.to_string();
    assert!(
        text.contains(&standby.to_string()) && text.contains(&dead.to_string()),
        "{text}"
    );
    // Whoever only looks does the same: the slot is the primary's.
    let mut session = session(&cluster).await;
    run(
        &mut session,
        &format!("SELECT pg_create_logical_replication_slot('{SLOT}', 'wal2json')"),
    )
    .await;
    let hosts =
        format!("postgres://postgres@127.0.0.1:{dead},127.0.0.1:{standby},127.0.0.1:{primary}/postgres");
    let found = look("status", &["--pgurl", &hosts, "--replication-slot", SLOT]);
    assert_eq!(found.json["slot"]["name"], SLOT, "{:#}", found.json);
    let found = look("check", &["--pgurl", &hosts, "--replication-slot", SLOT]);
    assert!(
        !found.problems().contains(&"source_unreachable"),
        "{:#}",
        found.json
    );
}

#[tokio::test]
async fn a_pool_follows_a_fail_over() {
    let mut primary = cluster(&[]);
    let replica = Replica::of(&primary);
    let pool = store::connect(&url(&[primary.port(), replica.port()], "sslmode=disable"))
        .await
        .unwrap();
    assert!(!is_in_recovery(&pool).await.unwrap());
    primary.stop(StopMode::Immediate).unwrap();
    replica.promote();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match is_in_recovery(&pool).await {
            Ok(in_recovery) => break assert!(!in_recovery),
            Err(error) => assert!(Instant::now() < deadline, "the pool does not follow: {error}"),
        }
    }
    pool.close().await;
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_its_time_once() {
    let primary = cluster(&[]);
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let ports = [silent.local_addr().unwrap().port(), primary.port()];
    let accepted = Arc::new(AtomicUsize::new(0));
    let accepting = tokio::spawn({
        let accepted = Arc::clone(&accepted);
        async move {
            let mut streams = Vec::new();
            while let Ok((stream, _)) = silent.accept().await {
                streams.push(stream);
                accepted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let pool = store::connect(&url(&ports, "sslmode=disable&connect_timeout=1"))
        .await
        .unwrap();
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(pool.acquire().await.unwrap());
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    accepting.abort();
}

#[tokio::test]
async fn what_will_not_heal_ends_the_search() {
    let cluster = unsecured().await;
    let dead = dead_port();
    let port = cluster.port();
    // The password is wrong for the server that answers first; the second would not ask.
    let text = format!(
        "postgres://streamer:wrong@127.0.0.1:{dead},127.0.0.1:{port},127.0.0.1:1/postgres?sslmode=disable&target_session_attrs=any"
    );
    let error = Connection::open(&PgUrl::parse(&text).unwrap()).await.unwrap_err();
    assert_eq!(error.code(), Some("28P01"), "{error}");
    let right = text.replace("wrong", PASSWORD);
    assert_eq!(
        chosen(&PgUrl::parse(&right).unwrap()).await,
        Ok(format!("127.0.0.1:{port}"))
    );
}
