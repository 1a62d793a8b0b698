//! Suite `store`: the backlog and the dead letters as tables: what is written is read back, once and in order.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgstream::delivery::model::{Attempts, Removed, Row, StoredPlace, Written};
use pgstream::demo::cluster::Cluster;
use pgstream::endpoint::{EndpointSettings, Standing};
use pgstream::event::{Origin, Position};
use pgstream::pipeline::filtered_tables;
use pgstream::store::backlog::{self, Appended, Kind, Page, TooMuch, Touched};
use pgstream::store::endpoints::{self, Change, Changes};
use pgstream::store::{self, MigrationSet, PgPool, dead_letters};
use pgstream_proto::Lsn;
use sqlx::AssertSqlSafe;

use crate::support::database::{
    cluster, initialised, run, session, session_in, url, value, values, wait_until,
};

const A: &str = "http://a.example/hook?x=1";
const B: &str = "http://b.example/";

/// A migrated store. The pool goes first: the server waits for its sessions to end.
struct Store {
    pool: PgPool,
    cluster: Cluster,
}

impl Store {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let cluster = cluster(settings);
        let pool = store::connect(&url(&cluster, "postgres")).await.unwrap();
        store::migrate(&pool, MigrationSet::Store).await.unwrap();
        Self { pool, cluster }
    }

    /// Appends and says under which `seq`s.
    async fn append(&self, endpoint: &str, events: &[Sample]) -> Vec<i64> {
        let rows: Vec<Written<'_>> = events.iter().map(Sample::written).collect();
        let appended = backlog::append(&self.pool, endpoint, &rows, None).await.unwrap();
        appended.iter().map(|row| row.seq).collect()
    }

    /// All rows of an endpoint.
    async fn rows(&self, endpoint: &str) -> Vec<Row> {
        let chunk = backlog::load(&self.pool, endpoint, 0, 100_000, u64::MAX)
            .await
            .unwrap();
        assert!(chunk.end);
        chunk.rows
    }

    /// Which rows of the endpoint are gone after `removal`, which says so much of them.
    async fn gone(&self, endpoint: &str, removal: impl Future<Output = Removed>) -> Vec<i64> {
        let before = self.rows(endpoint).await;
        let removed = removal.await;
        let left: Vec<i64> = self.rows(endpoint).await.iter().map(|row| row.seq).collect();
        let gone: Vec<Row> = before
            .into_iter()
            .filter(|row| !left.contains(&row.seq))
            .collect();
        let bytes = gone.iter().map(|row| row.payload.len() as u64).sum();
        let rows = gone.len() as u64;
        assert_eq!(removed, Removed { rows, bytes });
        gone.iter().map(|row| row.seq).collect()
    }

    async fn ids(&self, endpoint: &str) -> Vec<String> {
        self.rows(endpoint)
            .await
            .into_iter()
            .map(|row| row.webhook_id)
            .collect()
    }

    async fn value<T>(&self, text: &str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    {
        sqlx::query_scalar(AssertSqlSafe(text.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// The first column of all rows, as text.
    async fn texts(&self, text: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(text.to_owned()))
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Makes rows look as if they had been appended so many seconds earlier.
    async fn age(&self, ids: &[&str], seconds: i64) {
        sqlx::query(
            "UPDATE pgstream.webhook_backlog SET appended_at = appended_at - $1 * interval '1 second'
              WHERE webhook_id = ANY($2)",
        )
        .bind(seconds)
        .bind(ids)
        .execute(&self.pool)
        .await
        .unwrap();
    }
}

/// An event to be written, all of it its own.
#[derive(Clone)]
struct Sample {
    id: String,
    replay_run: i64,
    origin: Origin,
    table: String,
    root: Option<(String, String)>,
    action: char,
    place: StoredPlace,
    position: Position,
    payload: Vec<u8>,
    attempts: Attempts,
}

/// An ordinary one.
fn sample(id: &str) -> Sample {
    Sample {
        id: id.to_owned(),
        replay_run: 0,
        origin: Origin::Stream,
        table: "items".to_owned(),
        root: None,
        action: 'I',
        place: StoredPlace {
            table_key: 7,
            lane: Some(1),
            moved_to: None,
            key_set: Some(3),
        },
        position: position(1, 1, 100, 90),
        payload: format!("payload of {id}").into_bytes(),
        attempts: Attempts::default(),
    }
}

fn samples(ids: impl IntoIterator<Item = u32>) -> Vec<Sample> {
    ids.into_iter()
        .map(|number| sample(&format!("id-{number:03}")))
        .collect()
}

impl Sample {
    fn written(&self) -> Written<'_> {
        Written {
            webhook_id: &self.id,
            replay_run: self.replay_run,
            origin: self.origin,
            schema: "public",
            table: &self.table,
            root: self
                .root
                .as_ref()
                .map(|(schema, table)| (schema.as_str(), table.as_str())),
            action: self.action,
            place: self.place,
            position: self.position,
            payload: &self.payload,
            attempts: &self.attempts,
        }
    }

    /// What is to be read back.
    fn row(self, seq: i64, appended_at: SystemTime) -> Row {
        Row {
            seq,
            webhook_id: self.id,
            replay_run: self.replay_run,
            origin: self.origin,
            schema: "public".to_owned(),
            table: self.table,
            root: self.root,
            action: self.action,
            place: self.place,
            position: self.position,
            payload: self.payload,
            attempts: self.attempts,
            appended_at,
        }
    }
}

/// So many rows, whatever their size.
fn first(rows: u64) -> TooMuch {
    TooMuch::Excess { rows, bytes: 0 }
}

fn position(source: u64, epoch: u32, commit_lsn: u64, lsn: u64) -> Position {
    Position {
        source,
        epoch,
        commit_lsn: Lsn::new(commit_lsn),
        lsn: Lsn::new(lsn),
    }
}

fn at(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}

/// Two attempts, of which the last failed with these words.
fn tried(words: &str) -> Attempts {
    Attempts {
        count: 2,
        first_error: Some("connection refused".to_owned()),
        last_error: Some(words.to_owned()),
        first_at: Some(at(1_700_000_000_123_457)),
        last_at: Some(at(1_700_000_009_999_999)),
    }
}

/// One of each kind, with the extremes of each column.
fn extremes() -> Vec<Sample> {
    let whole_table = StoredPlace {
        table_key: i64::MIN,
        lane: None,
        moved_to: None,
        key_set: None,
    };
    vec![
        sample("plain"),
        Sample {
            table: "o'brien \"x\" {a,b} \\ NULL 🐘".to_owned(),
            root: Some(("public".to_owned(), "NULL".to_owned())),
            action: 'T',
            place: whole_table,
            position: position(u64::MAX, u32::MAX, u64::MAX, 0),
            payload: (0..=255).collect(),
            attempts: tried("500: \"{no}\"\\, 🐘"),
            ..sample("extreme")
        },
        Sample {
            origin: Origin::Snapshot,
            place: StoredPlace {
                moved_to: Some(i64::MAX),
                lane: Some(-1),
                ..whole_table
            },
            payload: vec![0; 3_000_000],
            ..sample("large")
        },
        Sample {
            origin: Origin::Replay,
            replay_run: i64::MAX,
            payload: Vec::new(),
            ..sample("plain")
        },
        Sample {
            origin: Origin::Move,
            ..sample("moved")
        },
    ]
}

#[tokio::test]
async fn what_is_appended_is_read_back_as_it_was_and_in_order() {
    let store = Store::new(&[]).await;
    let seqs = store.append(A, &extremes()).await;
    assert!(seqs.is_sorted() && seqs.len() == 5, "{seqs:?}");
    let rows = store.rows(A).await;
    let expected: Vec<Row> = extremes()
        .into_iter()
        .zip(seqs)
        .zip(&rows)
        .map(|((event, seq), row)| event.row(seq, row.appended_at))
        .collect();
    assert_eq!(rows, expected);
    let minute = SystemTime::now() - Duration::from_secs(60);
    assert!(rows.iter().all(|row| row.appended_at > minute), "{rows:?}");
    assert!(store.rows(B).await.is_empty());
}

#[tokio::test]
async fn an_event_is_in_a_backlog_once_in_each_run_of_a_replay() {
    let store = Store::new(&[]).await;
    let again = |id: &str, replay_run| Sample {
        replay_run,
        ..sample(id)
    };
    let first = [again("a", 0), again("b", 0), again("a", 0), again("a", 1)];
    let seqs = store.append(A, &first).await;
    assert_eq!(seqs.len(), 3);
    // What was there already keeps its place.
    let rows: Vec<Sample> = vec![again("c", 0), again("a", 0), again("b", 2)];
    let written: Vec<Written<'_>> = rows.iter().map(Sample::written).collect();
    let appended = backlog::append(&store.pool, A, &written, None).await.unwrap();
    let of = |row: &Appended| (row.webhook_id.clone(), row.replay_run);
    assert_eq!(
        appended.iter().map(of).collect::<Vec<_>>(),
        [("c".to_owned(), 0), ("b".to_owned(), 2)]
    );
    assert_eq!(store.ids(A).await, ["a", "b", "a", "c", "b"]);
    assert_eq!(
        store.append(B, &first[..1]).await.len(),
        1,
        "another endpoint has its own"
    );
    // What is settled may come again.
    backlog::delete(&store.pool, A, &seqs[..1]).await.unwrap();
    assert_eq!(store.append(A, &first[..1]).await.len(), 1);
    assert_eq!(store.ids(A).await, ["b", "a", "c", "b", "a"]);
}

#[tokio::test]
async fn no_seq_is_drawn_before_the_one_who_holds_the_endpoint_has_committed() {
    let store = Store::new(&[]).await;
    let drawn = "SELECT last_value FROM pgstream.webhook_backlog_seq_seq";
    store.append(A, &[sample("first")]).await;
    let mut other = session(&store.cluster).await;
    run(
        &mut other,
        &format!(
            "BEGIN; INSERT INTO pgstream.webhook_backlog_marks (endpoint) VALUES ('{A}')
                        ON CONFLICT (endpoint) DO UPDATE SET endpoint = excluded.endpoint"
        ),
    )
    .await;
    let pool = store.pool.clone();
    let waiting = tokio::spawn(async move {
        let events = samples(0..20);
        let rows: Vec<Written<'_>> = events.iter().map(Sample::written).collect();
        backlog::append(&pool, A, &rows, None).await.unwrap()
    });
    let mut watcher = session(&store.cluster).await;
    wait_until("the append waits for the lock", async || {
        value::<i64>(
            &mut session(&store.cluster).await,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%webhook_backlog%'",
        )
        .await
            == 1
    })
    .await;
    assert_eq!(value::<i64>(&mut watcher, drawn).await, 1);
    // Meanwhile another endpoint is not held up.
    assert_eq!(store.append(B, &[sample("elsewhere")]).await, [2]);
    run(
        &mut other,
        &format!(
            "INSERT INTO pgstream.webhook_backlog (endpoint, webhook_id, replay_run, origin, schema_name, table_name, action,
                    table_key, source, epoch, commit_lsn, lsn, payload)
             VALUES ('{A}', 'replayed', 9, 'replay', 'public', 'items', 'I', 7, 1, 1, '0/1', '0/1', '')"
        ),
    )
    .await;
    assert_eq!(value::<i64>(&mut watcher, drawn).await, 3);
    run(&mut other, "COMMIT").await;
    let seqs: Vec<i64> = waiting.await.unwrap().iter().map(|row| row.seq).collect();
    assert_eq!(seqs, (4..24).collect::<Vec<_>>());
    assert_eq!(store.ids(A).await[..3], ["first", "replayed", "id-000"]);
}

#[tokio::test]
async fn whoever_reads_behind_the_last_row_seen_misses_nothing_of_concurrent_appends() {
    const WRITERS: u32 = 3;
    const APPENDS: u32 = 40;
    const ROWS: u32 = 15;
    let store = Store::new(&[]).await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        // A pool of its own, so that all of them write at one time.
        let pool = store::connect(&url(&store.cluster, "postgres")).await.unwrap();
        writers.push(tokio::spawn(async move {
            let mut last = 0;
            for append in 0..APPENDS {
                let events: Vec<Sample> = (0..ROWS)
                    .map(|row| sample(&format!("{writer}-{append:02}-{row:02}")))
                    .collect();
                let rows: Vec<Written<'_>> = events.iter().map(Sample::written).collect();
                let mark = position(1, 1, u64::from(append), 0);
                let appended = backlog::append(&pool, A, &rows, Some(&mark)).await.unwrap();
                assert!(appended[0].seq > last && appended.is_sorted_by_key(|row| row.seq));
                last = appended.last().unwrap().seq;
            }
        }));
    }
    let (mut seen, mut after) = (BTreeSet::new(), 0);
    let all = (WRITERS * APPENDS * ROWS) as usize;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while seen.len() < all {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {all} seen",
            seen.len()
        );
        let chunk = backlog::load(&store.pool, A, after, 50, u64::MAX).await.unwrap();
        for row in chunk.rows {
            assert!(row.seq > after);
            after = row.seq;
            seen.insert(row.webhook_id);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn marks_go_forwards_only_and_each_source_has_its_own_history() {
    let store = Store::new(&[]).await;
    let mark_of = async |endpoint: &str| {
        let marks = backlog::marks(&store.pool).await.unwrap();
        let found = marks.into_iter().find(|(name, _)| name == endpoint);
        found.map(|(_, mark)| mark)
    };
    let raise = async |mark: Option<&Position>| {
        backlog::append(&store.pool, A, &[sample("same").written()], mark)
            .await
            .unwrap();
    };
    raise(None).await;
    assert_eq!(mark_of(A).await, None, "a replay has no mark");
    assert_eq!(
        store
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_backlog_marks")
            .await,
        1
    );
    let (low, high) = (position(5, 1, 0xFFFF_FFFF, 10), position(5, 1, 0x1_0000_0000, 5));
    for (given, stays) in [
        (Some(low), low),
        (None, low),
        (Some(high), high),
        (Some(low), high),
        (Some(position(5, 1, 0x1_0000_0000, 4)), high),
        // The same change again.
        (Some(high), high),
        // A later epoch is further on, whatever its LSNs.
        (Some(position(5, 2, 1, 1)), position(5, 2, 1, 1)),
        (Some(high), position(5, 2, 1, 1)),
        // Another source begins anew.
        (Some(position(u64::MAX, 0, 1, 1)), position(u64::MAX, 0, 1, 1)),
        (None, position(u64::MAX, 0, 1, 1)),
    ] {
        raise(given.as_ref()).await;
        assert_eq!(mark_of(A).await, Some(stays), "given {given:?}");
    }
    assert_eq!(mark_of(B).await, None);
}

#[tokio::test]
async fn a_chunk_is_bounded_by_rows_and_bytes_and_knows_the_end() {
    let store = Store::new(&[]).await;
    let sizes = [5_000_usize, 10, 20, 30, 40];
    let events: Vec<Sample> = sizes
        .iter()
        .map(|size| Sample {
            payload: vec![b'x'; *size],
            ..sample(&format!("{size}"))
        })
        .collect();
    let seqs = store.append(A, &events).await;
    store.append(B, &samples(0..3)).await;
    let all = [0, seqs[0], seqs[1], seqs[2], seqs[3], seqs[4]];
    for (after, max_rows, max_bytes, expected, end) in [
        (0, 100, u64::MAX, &sizes[..], true),
        // As many as were asked for: there may be more.
        (0, 5, u64::MAX, &sizes[..], false),
        (0, 6, u64::MAX, &sizes[..], true),
        (0, 2, u64::MAX, &sizes[..2], false),
        // The first in any case.
        (0, 100, 1, &sizes[..1], false),
        (0, 100, 0, &sizes[..1], false),
        (0, 100, 5_009, &sizes[..1], false),
        (0, 100, 5_010, &sizes[..2], false),
        (all[1], 100, 99, &sizes[1..4], false),
        (all[1], 100, 100, &sizes[1..], true),
        (all[4], 100, 1, &sizes[4..], true),
        (all[4], 1, 1, &sizes[4..], false),
        (all[5], 100, 1, &[], true),
        (all[5], 1, 1, &[], true),
    ] {
        let chunk = backlog::load(&store.pool, A, after, max_rows, max_bytes)
            .await
            .unwrap();
        let loaded: Vec<usize> = chunk.rows.iter().map(|row| row.payload.len()).collect();
        assert_eq!(
            (&loaded[..], chunk.end),
            (expected, end),
            "after {after}, {max_rows} rows, {max_bytes} bytes"
        );
    }
}

#[tokio::test]
async fn rows_are_deleted_and_touched_by_their_seq_and_endpoint() {
    let store = Store::new(&[]).await;
    let seqs = store.append(A, &samples(0..4)).await;
    let others = store.append(B, &samples(0..1)).await;
    let touched = |seq, attempts| Touched { seq, attempts };
    let twice = tried("a NUL \0, and 🐘");
    let rows = [
        touched(seqs[1], twice.clone()),
        touched(others[0], twice.clone()),
        touched(i64::MAX, twice.clone()),
        touched(
            seqs[2],
            Attempts {
                first_error: None,
                ..tried("503")
            },
        ),
    ];
    backlog::touch(&store.pool, A, &rows).await.unwrap();
    let attempts: Vec<Attempts> = store.rows(A).await.into_iter().map(|row| row.attempts).collect();
    assert_eq!(attempts[0], Attempts::default());
    assert_eq!(attempts[1].last_error.as_deref(), Some("a NUL  , and 🐘"));
    assert_eq!(
        (attempts[1].count, attempts[1].first_at, attempts[1].last_at),
        (2, twice.first_at, twice.last_at)
    );
    assert_eq!(attempts[2], rows[3].attempts);
    assert_eq!(
        store.rows(B).await[0].attempts,
        Attempts::default(),
        "it is another endpoint's"
    );

    let gone = [seqs[0], seqs[3], others[0], i64::MAX];
    assert_eq!(backlog::delete(&store.pool, A, &gone).await.unwrap(), 2);
    assert_eq!(backlog::delete(&store.pool, A, &gone).await.unwrap(), 0);
    assert_eq!(store.ids(A).await, ["id-001", "id-002"]);
    assert_eq!(store.ids(B).await, ["id-000"]);
}

/// What a receiver says must not be able to keep its events from being written.
#[tokio::test]
async fn words_that_the_database_has_no_characters_for_are_kept_escaped() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
    )
    .await;
    let pool = store::connect(&url(&cluster, "latin")).await.unwrap();
    store::migrate(&pool, MigrationSet::Store).await.unwrap();
    let event = Sample {
        payload: "🐘".into(),
        attempts: tried("500: ✗"),
        ..sample("a")
    };
    let seqs = backlog::append(&pool, A, &[event.written()], None).await.unwrap();
    let error_of = async || {
        let chunk = backlog::load(&pool, A, 0, 1, 1).await.unwrap();
        assert_eq!(chunk.rows[0].payload, "🐘".as_bytes());
        chunk.rows[0].attempts.last_error.clone().unwrap()
    };
    assert_eq!(error_of().await, r"500: \342\234\227");
    let row = Touched {
        seq: seqs[0].seq,
        attempts: tried("ж"),
    };
    backlog::touch(&pool, A, &[row]).await.unwrap();
    assert_eq!(error_of().await, r"\320\266");
    dead_letters::bury_raw(
        &pool,
        "raw",
        &position(1, 1, 2, 3),
        b"{",
        ("unparsable", "no ✗\0"),
    )
    .await
    .unwrap();
    pool.close().await;
    let mut latin = session_in(&url(&cluster, "latin")).await;
    let error: String = value(&mut latin, "SELECT last_error FROM pgstream.webhook_dead_letters").await;
    assert_eq!(error, r"no \342\234\227 ");
}

#[tokio::test]
async fn totals_count_rows_and_bytes_and_know_the_oldest() {
    let store = Store::new(&[]).await;
    assert!(backlog::totals(&store.pool).await.unwrap().is_empty());
    assert_eq!(
        backlog::sum(&store.pool, 100).await.unwrap(),
        backlog::Sum::default()
    );
    let none = backlog::totals_of(&store.pool, A).await.unwrap();
    assert_eq!(
        (none.endpoint.as_str(), none.rows, none.bytes, none.oldest),
        (A, 0, 0, None)
    );
    assert_eq!(backlog::oldest(&store.pool, A, 10, &[]).await.unwrap(), None);
    let before = SystemTime::now();
    let long_ago = Sample {
        payload: vec![0; 100],
        attempts: tried("503"),
        ..sample("tried")
    };
    let seqs = store.append(A, &[sample("fresh"), long_ago]).await;
    store.append(B, &samples(0..3)).await;
    let totals = backlog::totals(&store.pool).await.unwrap();
    assert_eq!(
        totals,
        [
            backlog::totals_of(&store.pool, A).await.unwrap(),
            backlog::totals_of(&store.pool, B).await.unwrap()
        ]
    );
    assert_eq!(
        (totals[0].rows, totals[0].bytes),
        (2, "payload of fresh".len() as u64 + 100)
    );
    let sum = backlog::sum(&store.pool, 100).await.unwrap();
    assert_eq!((sum.rows, sum.endpoints), (5, 2));
    assert_eq!(sum.bytes, totals[0].bytes + totals[1].bytes);
    assert!(
        sum.oldest
            .is_some_and(|oldest| oldest > before - Duration::from_secs(60)),
        "that of the first row"
    );
    let some = backlog::sum(&store.pool, 3).await.unwrap();
    assert_eq!((some.rows, some.endpoints, some.oldest), (3, 2, sum.oldest));
    // When it was first tried, or where it was not, when it was written.
    let first_try = tried("").first_at;
    assert_eq!(totals[0].oldest, first_try);
    let oldest = async |limit, except: &[i64]| backlog::oldest(&store.pool, A, limit, except).await.unwrap();
    assert_eq!(oldest(2, &[]).await, first_try);
    let written = oldest(1, &[]).await.unwrap();
    assert!(
        (before - Duration::from_secs(1)..=SystemTime::now()).contains(&written),
        "{written:?}"
    );
    assert_eq!(oldest(2, &seqs[1..]).await, Some(written));
}

#[tokio::test]
async fn the_letters_and_the_rows_they_were_change_places_in_one_step() {
    let store = Store::new(&[]).await;
    let events = extremes();
    let seqs = store.append(A, &events).await;
    let letters: Vec<(Written<'_>, &str)> = events
        .iter()
        .take(3)
        .map(|event| (event.written(), "refused"))
        .collect();
    // One that cannot be written: nothing of it happens.
    let unwritable = Sample {
        table: "a\0".to_owned(),
        ..sample("unwritable")
    };
    let with_it = [letters.clone(), vec![(unwritable.written(), "refused")]].concat();
    assert!(
        dead_letters::bury(&store.pool, Some(A), &with_it, &seqs)
            .await
            .is_err()
    );
    assert_eq!(store.rows(A).await.len(), 5);
    assert_eq!(
        store
            .value::<i64>("SELECT count(*) FROM pgstream.webhook_dead_letters")
            .await,
        0
    );

    dead_letters::bury(&store.pool, Some(A), &letters, &seqs[..3])
        .await
        .unwrap();
    assert_eq!(store.rows(A).await.len(), 2);
    let letters_of =
        "SELECT concat_ws('|', endpoint, webhook_id, origin, table_name, root_table, action, table_key, lane,
        moved_to, source, epoch, commit_lsn, lsn, bytes, md5(payload), attempts, last_error,
        extract(epoch FROM first_attempt_at)) FROM ";
    let buried = store
        .texts(&format!(
            "{letters_of} pgstream.webhook_dead_letters ORDER BY webhook_id"
        ))
        .await;
    store.append(B, &events).await;
    let written = store
        .texts(&format!(
            "{letters_of} (SELECT *, '{A}' AS endpoint FROM
                (SELECT * FROM pgstream.webhook_backlog WHERE endpoint = '{B}' ORDER BY seq LIMIT 3) AS b (other)) AS d
              ORDER BY webhook_id"
        ))
        .await;
    assert_eq!(buried, written);
}

#[tokio::test]
async fn an_event_is_a_dead_letter_once_and_says_what_it_died_of_last() {
    let store = Store::new(&[]).await;
    let bury = async |endpoint, events: &[(Sample, &str)]| {
        let letters: Vec<_> = events
            .iter()
            .map(|(event, reason)| (event.written(), *reason))
            .collect();
        dead_letters::bury(&store.pool, Some(endpoint), &letters, &[])
            .await
            .unwrap();
    };
    let dying = |run, words: &str| Sample {
        replay_run: run,
        attempts: tried(words),
        ..sample("a")
    };
    bury(A, &[(sample("a"), "refused")]).await;
    // Twice in one call: the last counts.
    bury(
        A,
        &[
            (dying(0, "404"), "retries"),
            (dying(1, "405"), "retries"),
            (dying(0, "410"), "retention"),
        ],
    )
    .await;
    bury(B, &[(dying(0, "500"), "retries")]).await;
    let letters = store
        .texts(
            "SELECT concat_ws(' ', substr(endpoint, 8, 1), webhook_id, replay_run, reason, attempts, last_error)
               FROM pgstream.webhook_dead_letters ORDER BY endpoint, replay_run",
        )
        .await;
    assert_eq!(
        letters,
        [
            "a a 0 retention 2 410",
            "a a 1 retries 2 405",
            "b a 0 retries 2 500"
        ]
    );
}

#[tokio::test]
async fn a_record_that_could_not_be_read_is_kept_raw_once() {
    let store = Store::new(&[]).await;
    let raw: Vec<u8> = (0..=255).collect();
    for problem in ["expected a colon", "something else"] {
        dead_letters::bury_raw(
            &store.pool,
            "raw-1",
            &position(u64::MAX, 3, 16, 15),
            &raw,
            ("unparsable", problem),
        )
        .await
        .unwrap();
    }
    dead_letters::bury_raw(
        &store.pool,
        "raw-2",
        &position(1, 1, 1, 1),
        b"",
        ("unparsable", "empty"),
    )
    .await
    .unwrap();
    let letters = store
        .texts(
            "SELECT concat_ws(' ', endpoint, webhook_id, origin, source, epoch, commit_lsn, lsn, bytes, reason, last_error)
               FROM pgstream.webhook_dead_letters ORDER BY id",
        )
        .await;
    assert_eq!(
        letters,
        [
            "raw-1 stream 18446744073709551615 3 0/10 0/F 256 unparsable expected a colon",
            "raw-2 stream 1 1 0/1 0/1 0 unparsable empty",
        ]
    );
    let kept: Vec<u8> = store
        .value("SELECT payload FROM pgstream.webhook_dead_letters WHERE webhook_id = 'raw-1'")
        .await;
    assert_eq!(kept, raw);
}

#[tokio::test]
async fn old_letters_are_cleaned_in_small_steps_the_oldest_first() {
    let store = Store::new(&[]).await;
    for number in 1..=5 {
        dead_letters::bury_raw(
            &store.pool,
            &format!("raw-{number}"),
            &position(1, 1, 1, 1),
            b"",
            ("unparsable", "x"),
        )
        .await
        .unwrap();
    }
    let age = "UPDATE pgstream.webhook_dead_letters
                  SET died_at = now() - substr(webhook_id, 5)::int * interval '1 day'";
    sqlx::query(age).execute(&store.pool).await.unwrap();
    let before = SystemTime::now() - Duration::from_secs(2 * 86_400 + 3_600);
    let left = async || {
        store
            .texts("SELECT webhook_id FROM pgstream.webhook_dead_letters ORDER BY id")
            .await
    };
    assert_eq!(dead_letters::clean(&store.pool, before, 2).await.unwrap(), 2);
    assert_eq!(left().await, ["raw-1", "raw-2", "raw-3"]);
    assert_eq!(dead_letters::clean(&store.pool, before, 2).await.unwrap(), 1);
    assert_eq!(dead_letters::clean(&store.pool, before, 2).await.unwrap(), 0);
    assert_eq!(left().await, ["raw-1", "raw-2"]);
}

#[tokio::test]
async fn the_oldest_rows_become_dead_letters_but_those_in_use() {
    let store = Store::new(&[]).await;
    let seqs = store.append(A, &samples(0..6)).await;
    store.append(B, &samples(0..6)).await;
    let bury = async |limit, too_much, except: &[i64]| {
        let burial = async || {
            backlog::bury_oldest(&store.pool, A, limit, too_much, except)
                .await
                .unwrap()
        };
        store.gone(A, burial()).await
    };
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    assert_eq!(
        bury(10, TooMuch::Before(hour_ago), &[]).await,
        [0; 0],
        "none is so old"
    );
    store.age(&["id-000", "id-001", "id-003"], 7_200).await;
    assert_eq!(
        bury(10, TooMuch::Before(hour_ago), &seqs[..1]).await,
        [seqs[1], seqs[3]]
    );
    assert_eq!(bury(2, first(9), &[seqs[0], seqs[4]]).await, [seqs[2], seqs[5]]);
    assert_eq!(bury(10, first(1), &[]).await, [seqs[0]]);
    assert_eq!(store.ids(A).await, ["id-004"]);
    assert_eq!(store.rows(B).await.len(), 6);
    let letters = store
        .texts("SELECT concat_ws(' ', endpoint, webhook_id, reason) FROM pgstream.webhook_dead_letters ORDER BY webhook_id")
        .await;
    let expected = [0, 1, 2, 3, 5].map(|number| format!("{A} id-{number:03} retention"));
    assert_eq!(letters, expected);
}

#[tokio::test]
async fn of_too_many_bytes_only_as_many_of_the_oldest_die_as_have_to() {
    let store = Store::new(&[]).await;
    let seqs = store.append(A, &samples(0..6)).await;
    let one = "payload of id-000".len() as u64;
    let bury = async |limit, rows, bytes, except: &[i64]| {
        let excess = TooMuch::Excess { rows, bytes };
        let burial = async || {
            backlog::bury_oldest(&store.pool, A, limit, excess, except)
                .await
                .unwrap()
        };
        store.gone(A, burial()).await
    };
    assert_eq!(bury(10, 0, 0, &[]).await, [0; 0]);
    assert_eq!(bury(10, 0, one, &[]).await, seqs[..1]);
    assert_eq!(bury(10, 0, one + 1, &seqs[1..2]).await, seqs[2..4]);
    assert_eq!(
        bury(1, 2, 5 * one, &[]).await,
        seqs[1..2],
        "no more than are looked at"
    );
    assert_eq!(bury(10, 2, 1, &[]).await, seqs[4..6]);
    let letters = store
        .texts("SELECT webhook_id FROM pgstream.webhook_dead_letters ORDER BY id")
        .await;
    assert_eq!(
        letters,
        ["id-000", "id-002", "id-003", "id-001", "id-004", "id-005"]
    );
}

#[tokio::test]
async fn rows_of_one_kind_are_discarded_but_none_that_an_operator_asked_for_and_none_in_use() {
    let store = Store::new(&[]).await;
    let of = |id: &str, table: &str, action| Sample {
        table: table.to_owned(),
        action,
        ..sample(id)
    };
    let events = [
        of("a", "x", 'I'),
        of("b", "y", 'I'),
        of("c", "x", 'U'),
        of("d", "x", 'I'),
        Sample {
            root: Some(("public".to_owned(), "whole".to_owned())),
            ..of("e", "x", 'I')
        },
        Sample {
            origin: Origin::Replay,
            ..of("f", "z", 'I')
        },
        Sample {
            origin: Origin::Move,
            ..of("g", "x", 'I')
        },
        Sample {
            origin: Origin::Snapshot,
            ..of("h", "x", 'I')
        },
    ];
    let seqs = store.append(A, &events).await;
    let kind = |table: &str, root: Option<&str>, action| Kind {
        schema: "public".to_owned(),
        table: table.to_owned(),
        root: root.map(|root| ("public".to_owned(), root.to_owned())),
        action,
    };
    let page = async |after, limit| backlog::page(&store.pool, A, after, limit).await.unwrap();
    let all = page(0, 100).await;
    assert_eq!((all.kinds.len(), all.last), (4, Some(seqs[7])), "{all:?}");
    for expected in [
        kind("x", None, 'I'),
        kind("y", None, 'I'),
        kind("x", None, 'U'),
        kind("x", Some("whole"), 'I'),
    ] {
        assert!(all.kinds.contains(&expected), "{expected:?}");
    }
    let second = Page {
        kinds: vec![kind("y", None, 'I')],
        last: Some(seqs[1]),
    };
    assert_eq!(page(seqs[0], 1).await, second);
    let asked_for = Page {
        kinds: Vec::new(),
        last: Some(seqs[6]),
    };
    assert_eq!(page(seqs[4], 2).await, asked_for);
    assert_eq!(page(seqs[7], 100).await, Page::default());
    let discard = async |after, last, except: &[i64]| {
        let kind = kind("x", None, 'I');
        let discarding = backlog::discard_kind(&store.pool, A, &kind, (after, last), except);
        store.gone(A, async { discarding.await.unwrap() }).await
    };
    assert_eq!(discard(0, seqs[3], &seqs[..1]).await, seqs[3..4]);
    assert_eq!(discard(seqs[3], seqs[5], &[]).await, [0; 0]);
    assert_eq!(discard(seqs[5], seqs[7], &[]).await, seqs[7..]);
    assert_eq!(store.ids(A).await, ["a", "b", "c", "e", "f", "g"]);
    assert_eq!(
        backlog::page(&store.pool, B, 0, 100).await.unwrap(),
        Page::default()
    );
}

#[tokio::test]
async fn what_is_wanted_of_an_endpoint_and_how_it_does_is_written_and_the_first_is_told() {
    let store = Store::new(&[]).await;
    let mut changes = Changes::listen(&store.pool).await.unwrap();
    endpoints::set_standing(&store.pool, A, Standing::Disabled, Some("answered 410"))
        .await
        .unwrap();
    assert_eq!(
        changes.changed().await.unwrap(),
        Change::Backlogs(BTreeSet::new())
    );
    let mut session = session(&store.cluster).await;
    run(
        &mut session,
        "SELECT pg_notify('pgstream_endpoints', 'http://a/')",
    )
    .await;
    let told = BTreeSet::from(["http://a/".to_owned()]);
    assert_eq!(changes.changed().await.unwrap(), Change::Backlogs(told));
    let listed = endpoints::list(&store.pool).await.unwrap();
    let [only] = &listed[..] else { panic!("{listed:?}") };
    let standing = (only.url.as_str(), only.standing, only.reason.as_deref());
    assert_eq!(standing, (A, Standing::Disabled, Some("answered 410")));
    let defaults = EndpointSettings::default();
    assert_eq!(only.settings(&defaults), defaults);
    endpoints::set_standing(&store.pool, A, Standing::Active, None)
        .await
        .unwrap();
    let again = endpoints::list(&store.pool).await.unwrap();
    assert_eq!(
        (again.len(), again[0].standing, &again[0].reason),
        (1, Standing::Active, &None)
    );
    assert!(again[0].changed_at > only.changed_at);
    assert!(endpoints::ill(&store.pool).await.unwrap().is_empty());
    for (url, health) in [(A, "failing"), (B, "outage"), (A, "healthy")] {
        endpoints::record_health(&store.pool, url, health, at(1_000_000), Some("answered 503"))
            .await
            .unwrap();
    }
    assert_eq!(endpoints::ill(&store.pool).await.unwrap(), [B]);
    let written = store
        .texts("SELECT concat_ws('|', url, health, extract(epoch FROM since)::int, reason) FROM pgstream.webhook_endpoint_health ORDER BY url")
        .await;
    assert_eq!(
        written,
        [
            format!("{A}|healthy|1|answered 503"),
            format!("{B}|outage|1|answered 503")
        ]
    );
}

/// Filled and drained for ever, a backlog is no larger than what it held at one time, and some garbage.
#[tokio::test]
async fn filling_and_draining_for_long_does_not_bloat_the_tables() {
    const STRETCHES: usize = 12;
    const ROUNDS: usize = 25;
    const ROWS: usize = 500;
    // How often autovacuum looks is the server's matter; what it finds worth cleaning is the table's, for one that is
    // cleaned late by the server's settings.
    let store = Store::new(&[
        ("autovacuum_naptime", "1s"),
        ("autovacuum_vacuum_threshold", "1000000000"),
        ("autovacuum_vacuum_cost_delay", "100ms"),
    ])
    .await;
    let mut sizes = Vec::new();
    let mut vacuums = 0_i64;
    for stretch in 0..STRETCHES {
        for round in 0..ROUNDS {
            fill_and_drain(&store, stretch * ROUNDS + round, ROWS).await;
        }
        wait_until("the table was vacuumed by itself", async || {
            store
                .value::<bool>(&format!(
                    "SELECT coalesce(bool_or(autovacuum_count > {vacuums} AND n_dead_tup <= 5000), false)
                       FROM pg_stat_user_tables WHERE relname = 'webhook_backlog'"
                ))
                .await
        })
        .await;
        vacuums = store
            .value("SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'webhook_backlog'")
            .await;
        sizes.push(
            store
                .value::<i64>(
                    "SELECT pg_total_relation_size('pgstream.webhook_backlog') +
                            pg_total_relation_size('pgstream.webhook_backlog_marks')",
                )
                .await,
        );
    }
    println!("bytes on disk after each {} rows: {sizes:?}", ROUNDS * ROWS);
    // No more than the garbage of two stretches, in the rows and in both indexes: what came while it was being cleaned,
    // and what came before. All together would be six times that.
    let bound = i64::try_from(2 * ROUNDS * ROWS * 1_200).unwrap();
    assert!(
        sizes.iter().all(|size| *size <= bound),
        "{sizes:?}, more than {bound}"
    );
    let marks: i64 = store
        .value("SELECT pg_relation_size('pgstream.webhook_backlog_marks')")
        .await;
    assert!(marks <= 64 * 1024, "{marks}");
}

/// Appends rows as one batch, tries some of them again, and settles all of them.
async fn fill_and_drain(store: &Store, round: usize, rows: usize) {
    let events: Vec<Sample> = (0..rows)
        .map(|row| Sample {
            payload: vec![b'x'; 500],
            ..sample(&format!("1-{round:08X}-{row:04X}"))
        })
        .collect();
    let written: Vec<Written<'_>> = events.iter().map(Sample::written).collect();
    let mark = position(1, 1, round as u64, 0);
    let appended = backlog::append(&store.pool, A, &written, Some(&mark))
        .await
        .unwrap();
    let chunk = backlog::load(&store.pool, A, 0, rows + 1, u64::MAX)
        .await
        .unwrap();
    let seqs: Vec<i64> = chunk.rows.iter().map(|row| row.seq).collect();
    assert!(appended.iter().map(|row| row.seq).eq(seqs.iter().copied()) && seqs.len() == rows && chunk.end);
    let again: Vec<Touched> = seqs[..10]
        .iter()
        .map(|seq| Touched {
            seq: *seq,
            attempts: tried("503"),
        })
        .collect();
    backlog::touch(&store.pool, A, &again).await.unwrap();
    backlog::delete(&store.pool, A, &seqs).await.unwrap();
}

/// What an outage has filled in a minute, nobody has analysed yet: the planner's guesses must not matter.
#[tokio::test]
async fn no_step_reads_the_whole_of_a_large_backlog() {
    const ROWS: i64 = 100_000;
    const ROUNDS: i64 = 15;
    let store = Store::new(&[("autovacuum", "off")]).await;
    let mut watcher = session(&store.cluster).await;
    run(
        &mut watcher,
        &format!(
            "INSERT INTO pgstream.webhook_backlog (endpoint, webhook_id, origin, schema_name, table_name, action, table_key,
                    source, epoch, commit_lsn, lsn, payload)
             SELECT '{A}', n, 'stream', 'public', 'items', 'I', 7, 1, 1, '0/1', '0/1', 'x' FROM generate_series(1, {ROWS}) n"
        ),
    )
    .await;
    let pool = &store.pool;
    let other = Kind {
        schema: "public".to_owned(),
        table: "others".to_owned(),
        root: None,
        action: 'U',
    };
    let mut after = 0;
    for _ in 0..ROUNDS {
        let chunk = backlog::load(pool, A, after, 500, 1_000_000).await.unwrap();
        let seqs: Vec<i64> = chunk.rows.iter().map(|row| row.seq).collect();
        after = *seqs.last().unwrap();
        let touched = |seq: &i64| Touched {
            seq: *seq,
            attempts: tried("503"),
        };
        let rows: Vec<Touched> = seqs.iter().map(touched).collect();
        backlog::touch(pool, A, &rows).await.unwrap();
        assert!(backlog::oldest(pool, A, 500, &seqs).await.unwrap().is_some());
        let page = backlog::page(pool, A, after, 500).await.unwrap();
        let behind = (after, page.last.unwrap());
        let swept = backlog::discard_kind(pool, A, &other, behind, &seqs)
            .await
            .unwrap();
        assert_eq!(swept, Removed::default());
        let buried = backlog::bury_oldest(pool, A, 100, first(100), &seqs)
            .await
            .unwrap();
        assert_eq!(buried.rows, 100);
        let event = sample("refused");
        dead_letters::bury(pool, Some(A), &[(event.written(), "refused")], &seqs[..50])
            .await
            .unwrap();
        assert_eq!(backlog::delete(pool, A, &seqs).await.unwrap(), 450);
    }
    // A session that ends has told all it counted.
    pool.close().await;
    wait_until("the sessions have ended", async || {
        value::<i64>(
            &mut session(&store.cluster).await,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgstream'",
        )
        .await
            == 0
    })
    .await;
    let read: i64 = value(
        &mut watcher,
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'webhook_backlog'",
    )
    .await;
    println!("{} rows read a round", read / ROUNDS);
    assert!(read > 0 && read < ROUNDS * ROWS / 5, "{read}");
}

#[tokio::test]
async fn no_table_of_ours_feeds_the_stream_or_is_lost_in_a_crash() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    let ours: Vec<String> = values(
        &mut session,
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = 'pgstream' ORDER BY 1",
    )
    .await;
    let mut known = filtered_tables();
    // These two are read from the stream: a few rows for each change of a schema.
    known.extend(["schema_log", "schema_log_tables"].map(|table| format!("pgstream.{table}")));
    known.sort();
    assert_eq!(ours, known);
    let unlogged: i64 = value(
        &mut session,
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'pgstream'::regnamespace AND relpersistence <> 'p'",
    )
    .await;
    assert_eq!(unlogged, 0);
    let logged: i64 = value(&mut session, "SELECT count(*) FROM pgstream.schema_log").await;
    assert_eq!(logged, 0, "its own tables are no schema change");
}
