//! Suite `schema_log_store`: what is written down of applied entries, what a start reads of it, and what is deleted.

use std::time::Duration;

use pgstream::demo::cluster::{Cluster, StopMode};
use pgstream::schema_log::model::Entry;
use pgstream::store::{self, PgPool, catalog, schema_log};
use pgstream_proto::Lsn;

use crate::support::database::{
    SLOT, cluster, init_options, init_quietly, initialised, run, session, url, value, values,
};

/// A database with five entries of tables that come, change and go, and their ids.
async fn with_entries() -> (Cluster, PgPool, Vec<String>) {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE TABLE a (id int); ALTER TABLE a ADD b int; ALTER TABLE a ADD c int; CREATE TABLE b (id int);
         DROP TABLE b",
    )
    .await;
    let ids = values(
        &mut session,
        "SELECT id::text FROM pgstream.schema_log ORDER BY version",
    )
    .await;
    let pool = store::connect(&url(&cluster, "postgres")).await.unwrap();
    (cluster, pool, ids)
}

fn at(id: &str, lsn: u64) -> (String, Lsn) {
    (id.to_owned(), Lsn::new(lsn))
}

async fn applied(pool: &PgPool, slot: &str, start: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    schema_log::applied(pool, slot, Lsn::new(start), |entry| entries.push(entry))
        .await
        .unwrap();
    entries
}

async fn applied_ids(pool: &PgPool, slot: &str, start: u64) -> Vec<String> {
    let entries = applied(pool, slot, start).await.into_iter();
    entries.map(|entry| entry.id).collect()
}

/// The ids of the entries that there are.
async fn left(cluster: &Cluster) -> Vec<String> {
    values(
        &mut session(cluster).await,
        "SELECT id::text FROM pgstream.schema_log ORDER BY version",
    )
    .await
}

#[tokio::test]
async fn a_start_reads_what_was_committed_before_it_and_not_made_superfluous_before_it() {
    let (_cluster, pool, ids) = with_entries().await;
    // Two of one transaction, whose order is that of their versions.
    let written: Vec<_> = [(0, 10), (2, 20), (1, 20), (3, 30)]
        .map(|(entry, lsn): (usize, u64)| at(&ids[entry], lsn))
        .to_vec();
    schema_log::record(&pool, "s", &written, &[at(&ids[0], 20), at(&ids[1], 20)])
        .await
        .unwrap();
    assert_eq!(applied_ids(&pool, "s", 10).await, Vec::<String>::new());
    assert_eq!(applied_ids(&pool, "s", 11).await, ids[..1]);
    assert_eq!(applied_ids(&pool, "s", 20).await, ids[..1]);
    assert_eq!(applied_ids(&pool, "s", 21).await, ids[2..3]);
    assert_eq!(applied_ids(&pool, "s", 31).await, ids[2..4]);
    assert_eq!(applied_ids(&pool, "other", 31).await, Vec::<String>::new());
    let entry = &applied(&pool, "s", 31).await[0];
    assert_eq!(
        (entry.schema.as_str(), entry.commit_lsn),
        ("public", Lsn::new(20))
    );
    let table = &entry.tables.as_ref().unwrap()[0];
    assert_eq!((table.name.as_str(), table.columns.len()), ("a", 3));
    assert_eq!(entry.touched[0].table_id, table.id);

    // Written again as it comes again.
    schema_log::record(&pool, "s", &written[3..], &[]).await.unwrap();
    assert_eq!(applied_ids(&pool, "s", 31).await, ids[2..4]);
    schema_log::forget(&pool, "s").await.unwrap();
    assert_eq!(applied_ids(&pool, "s", 31).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_written_down_is_acknowledged_and_what_is_gone_cannot_be_read() {
    let (cluster, pool, ids) = with_entries().await;
    schema_log::record(&pool, "s", &[at(&ids[1], 10), at(&ids[4], 20)], &[])
        .await
        .unwrap();
    let mut session = session(&cluster).await;
    let acked: Vec<bool> = values(
        &mut session,
        "SELECT acked FROM pgstream.schema_log ORDER BY version",
    )
    .await;
    assert_eq!(acked, [false, true, false, false, true]);
    run(
        &mut session,
        &format!(
            "DELETE FROM pgstream.schema_log WHERE id = '{}';
             UPDATE pgstream.schema_log SET schema = '[7]' WHERE id = '{}'",
            ids[1], ids[4]
        ),
    )
    .await;
    for entry in applied(&pool, "s", 31).await {
        assert_eq!(entry.tables, None, "{entry:?}");
        assert_eq!(entry.touched.len(), 1, "{entry:?}");
    }
}

#[tokio::test]
async fn entries_are_deleted_once_no_reader_needs_them() {
    let (cluster, pool, ids) = with_entries().await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        &format!("SELECT pg_copy_logical_replication_slot('{SLOT}', 'other')"),
    )
    .await;
    let all: Vec<_> = ids.iter().zip(1..).map(|(id, lsn)| at(id, lsn)).collect();
    let first_two = [at(&ids[0], 2), at(&ids[1], 3)];
    schema_log::record(&pool, SLOT, &all, &first_two).await.unwrap();
    schema_log::record(&pool, "gone", &all, &[]).await.unwrap();
    let prune = |age: Duration, limit: i64| {
        let pool = pool.clone();
        async move { schema_log::prune(&pool, SLOT, age, limit).await.unwrap() }
    };
    assert_eq!(prune(Duration::from_secs(60), 10).await, 0, "they are too young");
    assert_eq!(
        applied_ids(&pool, "gone", 99).await,
        Vec::<String>::new(),
        "there is no such slot"
    );

    // The other reader has not applied the entry that makes the first one superfluous.
    schema_log::record(&pool, "other", &all[..1], &[]).await.unwrap();
    assert_eq!(prune(Duration::ZERO, 1).await, 1);
    assert_eq!(left(&cluster).await, [&ids[..1], &ids[2..]].concat());
    assert_eq!(prune(Duration::ZERO, 10).await, 0);
    schema_log::record(&pool, "other", &all[1..2], &first_two[..1])
        .await
        .unwrap();
    assert_eq!(prune(Duration::ZERO, 10).await, 1);
    assert_eq!(left(&cluster).await, ids[2..]);
    assert_eq!(applied_ids(&pool, SLOT, 99).await, ids[2..]);

    // Beyond what its reader has confirmed: a start may need it.
    let beyond = u64::MAX >> 1;
    schema_log::record(&pool, SLOT, &[], &[at(&ids[2], beyond)])
        .await
        .unwrap();
    assert_eq!(prune(Duration::ZERO, 10).await, 0);
    // Not acknowledged, whoever says that it is superfluous.
    run(&mut session, "UPDATE pgstream.schema_log SET acked = false").await;
    schema_log::record(&pool, SLOT, &[], &[at(&ids[2], 4)])
        .await
        .unwrap();
    assert_eq!(prune(Duration::ZERO, 10).await, 0);
}

#[tokio::test]
async fn a_new_slot_begins_anew() {
    let (cluster, pool, ids) = with_entries().await;
    schema_log::record(&pool, SLOT, &[at(&ids[0], 1)], &[])
        .await
        .unwrap();
    let options = init_options(url(&cluster, "postgres"));
    init_quietly(&options).await.unwrap();
    assert_eq!(
        applied_ids(&pool, SLOT, 99).await,
        ids[..1],
        "it is the slot that it was"
    );
    let mut session = session(&cluster).await;
    run(
        &mut session,
        &format!("SELECT pg_drop_replication_slot('{SLOT}')"),
    )
    .await;
    init_quietly(&options).await.unwrap();
    assert_eq!(applied_ids(&pool, SLOT, 99).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_dropped_before_a_start_is_remembered_newest_first_within_a_bound() {
    let (cluster, pool, _) = with_entries().await;
    let mut session = session(&cluster).await;
    run(&mut session, "DROP TABLE a").await;
    let ids: Vec<String> = values(
        &mut session,
        "SELECT schema_log_id::text FROM pgstream.schema_log_tables WHERE dropped ORDER BY xid",
    )
    .await;
    let tables: Vec<String> = values(
        &mut session,
        "SELECT table_id FROM pgstream.schema_log_tables WHERE dropped ORDER BY xid",
    )
    .await;
    let [b, a] = &ids[..] else { panic!("{ids:?}") };
    schema_log::record(&pool, SLOT, &[at(b, 10), at(a, 20)], &[at(b, 20)])
        .await
        .unwrap();
    let dropped = async |start, count| {
        schema_log::dropped(&pool, SLOT, Lsn::new(start), count)
            .await
            .unwrap()
    };
    assert_eq!(dropped(30, 9).await, tables);
    assert_eq!(dropped(20, 9).await, tables[..1]);
    assert_eq!(dropped(30, 1).await, tables[1..]);
    assert!(
        schema_log::dropped(&pool, "another", Lsn::new(30), 9)
            .await
            .unwrap()
            .is_empty()
    );
}

/// The stream tells 32 bits of a transaction's number. What it asks about has been committed a moment ago, and older ones may
/// be open beside it.
#[tokio::test]
async fn a_transaction_is_told_by_its_short_number_beyond_four_billion() {
    let mut cluster = cluster(&[]);
    cluster.stop(StopMode::Fast).unwrap();
    let reset = cluster
        .command("pg_resetwal")
        .args(["--epoch=1", "--pgdata"])
        .arg(cluster.data_directory())
        .status();
    assert!(reset.unwrap().success());
    cluster.restart().unwrap();
    let pool = store::connect(&url(&cluster, "postgres")).await.unwrap();
    let (mut older, mut newer) = (session(&cluster).await, session(&cluster).await);
    run(&mut older, "BEGIN; SELECT txid_current()").await;
    run(&mut newer, "BEGIN").await;
    let full: i64 = value(&mut newer, "SELECT txid_current()").await;
    assert!(full > 1 << 32, "{full}");
    let short = u32::try_from(full & i64::from(u32::MAX)).unwrap();
    assert!(!catalog::is_visible(&pool, short).await.unwrap());
    run(&mut newer, "COMMIT").await;
    assert!(catalog::is_visible(&pool, short).await.unwrap());
    run(&mut older, "ROLLBACK").await;
}
