//! Rows of the backlog and of the dead letters as columns, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgstream_proto::Lsn;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use crate::delivery::model::{Attempts, Row, StoredPlace, Written};
use crate::event::{Origin, Position};

/// What a receiver or its network said, as text: bound as bytes, since a database that is not in UTF-8 may have no such
/// character, and a receiver must not be able to keep a row from being written.
macro_rules! said {
    ($bytes:literal) => {
        concat!(
            "CASE getdatabaseencoding() WHEN 'UTF8' THEN convert_from(",
            $bytes,
            ", 'UTF8') ELSE encode(",
            $bytes,
            ", 'escape') END"
        )
    };
}
pub(in crate::store) use said;

/// The range that these numbers are in, behind the name of a column. It has the primary key used, whatever is guessed about
/// the number of rows, if the rows are joined with the numbers besides: for `= ANY`, PostgreSQL 17 takes as many searches as
/// there are numbers to cost more than all of the endpoint by way of another index.
macro_rules! span {
    ($numbers:literal) => {
        concat!(
            "BETWEEN (SELECT min(n) FROM unnest(",
            $numbers,
            "::bigint[]) AS n) AND (SELECT max(n) FROM unnest(",
            $numbers,
            "::bigint[]) AS n)"
        )
    };
}
pub(in crate::store) use span;

/// What a row of both tables is written from: an element of each of the arrays that [`bind`] binds, in this order.
pub(in crate::store) const ARRAYS: &str = "unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::text[],
    $17::text[], $18::bytea[], $19::integer[], $20::bytea[], $21::bytea[], $22::bigint[], $23::bigint[]) WITH ORDINALITY
    AS r (webhook_id, replay_run, origin, schema_name, table_name, root_schema, root_table, action, table_key, lane,
    moved_to, key_set, source, epoch, commit_lsn, lsn, payload, attempts, first_error, last_error, first_attempt, last_attempt,
    place)";

/// The columns that these arrays fill.
pub(in crate::store) const COLUMNS: &str = "webhook_id, replay_run, origin, schema_name, table_name, root_schema, root_table,
    action, table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload, attempts, first_error, last_error,
    first_attempt_at, last_attempt_at";

/// The values of [`COLUMNS`], made of the elements of [`ARRAYS`].
pub(in crate::store) const VALUES: &str = concat!(
    "r.webhook_id, r.replay_run, r.origin, r.schema_name, r.table_name, r.root_schema, r.root_table, r.action, r.table_key,
    r.lane, r.moved_to, r.key_set, r.source::numeric, r.epoch, r.commit_lsn::pg_lsn, r.lsn::pg_lsn, r.payload, r.attempts, ",
    said!("r.first_error"),
    ", ",
    said!("r.last_error"),
    ", timestamptz 'epoch' + r.first_attempt * interval '1 microsecond',
    timestamptz 'epoch' + r.last_attempt * interval '1 microsecond'"
);

/// What [`read`] reads.
pub(in crate::store) const SELECTED: &str = "seq, webhook_id, replay_run, origin, schema_name, table_name, root_schema,
    root_table, action, table_key, lane, moved_to, key_set, source::text AS source, epoch, commit_lsn::text AS commit_lsn,
    lsn::text AS lsn, payload, attempts, first_error, last_error,
    (extract(epoch FROM first_attempt_at) * 1000000)::bigint AS first_attempt,
    (extract(epoch FROM last_attempt_at) * 1000000)::bigint AS last_attempt,
    (extract(epoch FROM appended_at) * 1000000)::bigint AS appended";

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Binds the parameters `$2` to `$23`.
pub(in crate::store) fn bind<'q>(statement: Statement<'q>, rows: &[Written<'q>]) -> Statement<'q> {
    fn each<'q, T>(rows: &[Written<'q>], of: impl Fn(&Written<'q>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    statement
        .bind(each(rows, |row| row.webhook_id))
        .bind(each(rows, |row| row.replay_run))
        .bind(each(rows, |row| row.origin.as_str()))
        .bind(each(rows, |row| row.schema))
        .bind(each(rows, |row| row.table))
        .bind(each(rows, |row| row.root.map(|(schema, _)| schema)))
        .bind(each(rows, |row| row.root.map(|(_, table)| table)))
        .bind(each(rows, |row| row.action.to_string()))
        .bind(each(rows, |row| row.place.table_key))
        .bind(each(rows, |row| row.place.lane))
        .bind(each(rows, |row| row.place.moved_to))
        .bind(each(rows, |row| row.place.key_set))
        .bind(each(rows, |row| row.position.source.to_string()))
        .bind(each(rows, |row| i64::from(row.position.epoch)))
        .bind(each(rows, |row| row.position.commit_lsn.to_string()))
        .bind(each(rows, |row| row.position.lsn.to_string()))
        .bind(each(rows, |row| row.payload))
        .bind(each(rows, |row| {
            i32::try_from(row.attempts.count).unwrap_or(i32::MAX)
        }))
        .bind(each(rows, |row| row.attempts.first_error.as_deref().map(words)))
        .bind(each(rows, |row| row.attempts.last_error.as_deref().map(words)))
        .bind(each(rows, |row| row.attempts.first_at.map(micros)))
        .bind(each(rows, |row| row.attempts.last_at.map(micros)))
}

/// Reads a row that was selected as [`SELECTED`].
pub(in crate::store) fn read(row: &PgRow) -> Result<Row, sqlx::Error> {
    let root: (Option<String>, Option<String>) = (row.try_get("root_schema")?, row.try_get("root_table")?);
    Ok(Row {
        seq: row.try_get("seq")?,
        webhook_id: row.try_get("webhook_id")?,
        replay_run: row.try_get("replay_run")?,
        origin: origin(row.try_get("origin")?)?,
        schema: row.try_get("schema_name")?,
        table: row.try_get("table_name")?,
        root: root.0.zip(root.1),
        action: letter(row.try_get("action")?)?,
        place: StoredPlace {
            table_key: row.try_get("table_key")?,
            lane: row.try_get("lane")?,
            moved_to: row.try_get("moved_to")?,
            key_set: row.try_get("key_set")?,
        },
        position: position(row)?,
        payload: row.try_get("payload")?,
        attempts: Attempts {
            count: u32::try_from(row.try_get::<i32, _>("attempts")?).unwrap_or_default(),
            first_error: row.try_get("first_error")?,
            last_error: row.try_get("last_error")?,
            first_at: time(row.try_get("first_attempt")?),
            last_at: time(row.try_get("last_attempt")?),
        },
        appended_at: time(row.try_get("appended")?).unwrap_or(UNIX_EPOCH),
    })
}

/// Reads the columns `source`, `epoch`, `commit_lsn` and `lsn`.
pub(in crate::store) fn position(row: &PgRow) -> Result<Position, sqlx::Error> {
    let lsn = |name| -> Result<Lsn, sqlx::Error> {
        let text: &str = row.try_get(name)?;
        text.parse().map_err(|_| unreadable(name, text))
    };
    let source: &str = row.try_get("source")?;
    Ok(Position {
        source: source.parse().map_err(|_| unreadable("source", source))?,
        epoch: u32::try_from(row.try_get::<i64, _>("epoch")?).unwrap_or(u32::MAX),
        commit_lsn: lsn("commit_lsn")?,
        lsn: lsn("lsn")?,
    })
}

/// The origin of this name.
fn origin(name: &str) -> Result<Origin, sqlx::Error> {
    [Origin::Stream, Origin::Snapshot, Origin::Replay, Origin::Move]
        .into_iter()
        .find(|origin| origin.as_str() == name)
        .ok_or_else(|| unreadable("origin", name))
}

/// The one letter of an action.
pub(in crate::store) fn letter(text: &str) -> Result<char, sqlx::Error> {
    text.chars().next().ok_or_else(|| unreadable("action", text))
}

fn unreadable(column: &str, text: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{text:?} is none of its values").into(),
    }
}

/// What is bound for [`said!`]. PostgreSQL has no texts with a NUL in them.
pub(in crate::store) fn words(text: &str) -> Vec<u8> {
    text.replace('\0', " ").into_bytes()
}

/// A time as microseconds since the epoch.
pub(in crate::store) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The time of so many microseconds since the epoch.
pub(in crate::store) fn time(micros: Option<i64>) -> Option<SystemTime> {
    let micros = u64::try_from(micros?).ok()?;
    Some(UNIX_EPOCH + Duration::from_micros(micros))
}
