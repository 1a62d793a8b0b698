//! Suite `connecting`: from a URL to a session, for the replication connection and for the store's.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use pgstream::config::PgUrl;
use pgstream::demo::cluster::Cluster;
use pgstream::replication::{Connection, ReplicationError, Session, SessionOptions, StartFrom, Vitals};
use pgstream::store;
use slog::{Discard, Logger, o};
use tokio_util::sync::CancellationToken;

use crate::support::database::{SLOT, cluster, initialised, run, session};

/// Has the server ask for passwords in this way, over TCP and over its socket.
async fn authenticate_by(cluster: &Cluster, method: &str) {
    let superuser = "local all postgres trust\nhost all postgres 127.0.0.1/32 trust\n\
                     host replication postgres 127.0.0.1/32 trust\n";
    let others = format!(
        "local all all {method}\nlocal replication all {method}\n\
         host all all 127.0.0.1/32 {method}\nhost replication all 127.0.0.1/32 {method}\n"
    );
    let path = cluster.data_directory().join("pg_hba.conf");
    fs::write(path, format!("{superuser}{others}")).unwrap();
    let mut session = session(cluster).await;
    run(&mut session, "SELECT pg_reload_conf()").await;
}

fn url(cluster: &Cluster, user_and_password: &str) -> PgUrl {
    let port = cluster.port();
    PgUrl::parse(&format!(
        "postgres://{user_and_password}@127.0.0.1:{port}/postgres?sslmode=prefer"
    ))
    .unwrap()
}

async fn refusal(url: &PgUrl) -> String {
    let error = Connection::open(url).await.unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn every_way_of_authentication() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    for (method, encryption) in [
        ("trust", "scram-sha-256"),
        ("password", "scram-sha-256"),
        ("md5", "md5"),
        ("scram-sha-256", "scram-sha-256"),
    ] {
        run(&mut session, "DROP ROLE IF EXISTS streamer").await;
        run(&mut session, &format!("SET password_encryption = '{encryption}'")).await;
        run(
            &mut session,
            "CREATE ROLE streamer LOGIN REPLICATION PASSWORD 'p@ss wörd/:?'",
        )
        .await;
        authenticate_by(&cluster, method).await;
        let right = url(&cluster, "streamer:p%40ss%20w%C3%B6rd%2F%3A%3F");
        Connection::open(&right)
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        store::connect(&right)
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"))
            .close()
            .await;
        if method != "trust" {
            let wrong = refusal(&url(&cluster, "streamer:wrong")).await;
            assert!(
                wrong.contains("password authentication failed") && wrong.contains("28P01"),
                "{wrong}"
            );
            assert!(!wrong.contains("wrong"), "{wrong}");
            let none = refusal(&url(&cluster, "streamer")).await;
            assert!(
                none.contains("asks for the password of user \"streamer\""),
                "{method}: {none}"
            );
        }
    }
}

#[tokio::test]
async fn over_the_unix_socket() {
    let cluster = cluster(&[]);
    let folder = cluster.socket_folder().display().to_string();
    let encoded = folder.replace('/', "%2F");
    for text in [
        format!(
            "postgres://postgres@/postgres?host={folder}&port={}",
            cluster.port()
        ),
        format!("postgresql://postgres@{encoded}:{}/postgres", cluster.port()),
    ] {
        let url = PgUrl::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        Connection::open(&url)
            .await
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        store::connect(&url)
            .await
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .close()
            .await;
    }
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_named() {
    let cluster = cluster(&[]);
    let missing = PgUrl::parse(&cluster.url("no_such_database")).unwrap();
    let text = refusal(&missing).await;
    assert!(
        text.contains("no_such_database") && text.contains("3D000"),
        "{text}"
    );
    let address = format!("127.0.0.1:{}", cluster.port());
    let gone = PgUrl::parse(&cluster.url("postgres")).unwrap();
    drop(cluster);
    let text = refusal(&gone).await;
    assert!(text.contains(&address) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_peer_that_is_no_postgres_is_an_error() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream
    });
    let url = PgUrl::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres")).unwrap();
    let text = refusal(&url).await;
    assert!(text.contains("does not answer as PostgreSQL does"), "{text}");
    drop(peer);
}

#[tokio::test]
async fn a_slot_that_cannot_be_streamed_is_named() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "SELECT pg_create_logical_replication_slot('other_plugin', 'test_decoding')",
    )
    .await;
    run(
        &mut session,
        "SELECT pg_create_physical_replication_slot('physical')",
    )
    .await;
    run(&mut session, "CREATE DATABASE elsewhere").await;
    for (database, slot, expected) in [
        (
            "postgres",
            "no_such_slot",
            "replication slot not found: \"no_such_slot\"",
        ),
        (
            "postgres",
            "other_plugin",
            "its output plugin is test_decoding, not wal2json",
        ),
        ("postgres", "physical", "it is a physical slot"),
        (
            "elsewhere",
            SLOT,
            "it belongs to the database \"postgres\", not to \"elsewhere\"",
        ),
    ] {
        let url = PgUrl::parse(&cluster.url(database)).unwrap();
        let error = start(&url, slot, &CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn stands_by_while_another_process_streams_from_the_slot() {
    let cluster = initialised(&[]).await;
    let url = PgUrl::parse(&cluster.url("postgres")).unwrap();
    let first = start(&url, SLOT, &CancellationToken::new()).await.unwrap();
    let stop = CancellationToken::new();
    let standing_by = tokio::spawn({
        let (url, stop) = (url.clone(), stop.clone());
        async move { start(&url, SLOT, &stop).await }
    });
    tokio::task::yield_now().await;
    drop(first);
    let second = standing_by.await.unwrap().unwrap();
    let third = tokio::spawn({
        let (url, stop) = (url.clone(), stop.clone());
        async move { start(&url, SLOT, &stop).await }
    });
    stop.cancel();
    assert!(matches!(third.await.unwrap(), Err(ReplicationError::Stopped)));
    drop(second);
}

async fn start(url: &PgUrl, slot: &str, stop: &CancellationToken) -> Result<Session, ReplicationError> {
    let options = SessionOptions {
        slot: slot.to_owned(),
        add_tables: Vec::new(),
        filter_tables: Vec::new(),
        vitals: Arc::new(Vitals::new(Instant::now())),
    };
    Session::start(
        url,
        &options,
        &StartFrom::default(),
        &Logger::root(Discard, o!()),
        stop,
    )
    .await
}
