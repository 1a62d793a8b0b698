//! Dead letters as an operator sees them: looked at, put back into the backlog, or discarded.

use std::time::SystemTime;

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, Row};

use super::StoreError;
use super::backlog::columns::{micros, time};
use super::backlog_lock::{lock, tell};

/// Which dead letters are meant: those that fulfil everything that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LetterFilter {
    /// Those of this endpoint.
    pub endpoint: Option<String>,
    /// Those of tables of this schema.
    pub schema: Option<String>,
    /// Those of this table, or of the partitions of this table.
    pub table: Option<String>,
    /// Those that died at this time or later.
    pub since: Option<SystemTime>,
    /// Those that died before this time.
    pub until: Option<SystemTime>,
    /// This one.
    pub id: Option<LetterId>,
    /// Those that died for this reason.
    pub reason: Option<String>,
}

/// What a dead letter is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterId {
    /// Its number.
    Number(i64),
    /// Its event's `webhook-id`, which the letters of several endpoints may share.
    Webhook(String),
}

/// A dead letter. What is `None` was not known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// Who should have got it; `None` where that could not be known.
    pub endpoint: Option<String>,
    /// The id of its event.
    pub webhook_id: String,
    /// The number of the replay that it died in; 0 for none.
    pub replay_run: i64,
    /// Where the event came from.
    pub origin: String,
    /// The schema of its table.
    pub schema: Option<String>,
    /// Its table.
    pub table: Option<String>,
    /// The schema of the partitioned table that its table belongs to.
    pub root_schema: Option<String>,
    /// The partitioned table that its table belongs to.
    pub root_table: Option<String>,
    /// What was done, as wal2json's letter.
    pub action: Option<String>,
    /// The end of the transaction's commit.
    pub commit_lsn: String,
    /// The change itself.
    pub lsn: String,
    /// The length of the payload.
    pub bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// How the first try failed.
    pub first_error: Option<String>,
    /// How the last try failed.
    pub last_error: Option<String>,
    /// When it was tried first.
    pub first_attempt_at: Option<SystemTime>,
    /// When it was tried last.
    pub last_attempt_at: Option<SystemTime>,
    /// Why it is dead.
    pub reason: String,
    /// Since when.
    pub died_at: SystemTime,
}

/// How many letters of one endpoint fulfil a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterCount {
    /// The endpoint; `None` for those without one.
    pub endpoint: Option<String>,
    /// How many.
    pub letters: u64,
    /// The highest number among them.
    pub last: i64,
}

/// What one step of a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// The letters that are no more.
    pub taken: u64,
    /// The rows that were put into the backlog: fewer, where several letters were of one event.
    pub put: u64,
    /// Whether there were more to be taken when it ended.
    pub more: bool,
}

/// Everything of a letter but its payload.
const COLUMNS: &str = "id, endpoint, webhook_id, replay_run, origin,
    schema_name, table_name, root_schema, root_table, action, commit_lsn::text, lsn::text,
    bytes, attempts::bigint AS attempts, first_error, last_error,
    (extract(epoch FROM first_attempt_at) * 1000000)::bigint AS first_attempt_at,
    (extract(epoch FROM last_attempt_at) * 1000000)::bigint AS last_attempt_at,
    reason, (extract(epoch FROM died_at) * 1000000)::bigint AS died_at";

/// The youngest letters first, at most `limit`.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn list(pool: &PgPool, filter: &LetterFilter, limit: u32) -> Result<Vec<Letter>, StoreError> {
    let mut query = QueryBuilder::new(format!(
        "SELECT {COLUMNS} FROM pgstream.webhook_dead_letters WHERE true"
    ));
    restrict(&mut query, filter);
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(pool).await.map_err(reading())?;
    rows.iter()
        .map(letter)
        .collect::<Result<_, _>>()
        .map_err(reading())
}

/// The youngest letters that are of no endpoint, as records are that could not be read; at most `limit`.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn without_endpoint(pool: &PgPool, limit: u32) -> Result<Vec<Letter>, StoreError> {
    let mut query = QueryBuilder::new(format!(
        "SELECT {COLUMNS} FROM pgstream.webhook_dead_letters WHERE endpoint IS NULL ORDER BY id DESC LIMIT "
    ));
    query.push_bind(i64::from(limit));
    let rows = query.build().fetch_all(pool).await.map_err(reading())?;
    rows.iter()
        .map(letter)
        .collect::<Result<_, _>>()
        .map_err(reading())
}

/// The payload of one letter, if it is still there.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn payload(pool: &PgPool, id: i64) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT payload FROM pgstream.webhook_dead_letters WHERE id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await
        .map_err(reading())
}

/// How many letters fulfil the filter, endpoint by endpoint.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn count(pool: &PgPool, filter: &LetterFilter) -> Result<Vec<LetterCount>, StoreError> {
    let mut query =
        QueryBuilder::new("SELECT endpoint, count(*), max(id) FROM pgstream.webhook_dead_letters WHERE true");
    restrict(&mut query, filter);
    query.push(" GROUP BY endpoint ORDER BY endpoint NULLS LAST");
    let rows: Vec<(Option<String>, i64, i64)> =
        query.build_query_as().fetch_all(pool).await.map_err(reading())?;
    let counted = |(endpoint, letters, last): (_, i64, _)| LetterCount {
        endpoint,
        letters: letters.unsigned_abs(),
        last,
    };
    Ok(rows.into_iter().map(counted).collect())
}

/// How many letters there are of endpoints, and how many without one: no more than `most` of each are counted.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn count_some(pool: &PgPool, most: u32) -> Result<(u64, u64), StoreError> {
    let (of_endpoints, without): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM (SELECT FROM pgstream.webhook_dead_letters
                                        WHERE endpoint IS NOT NULL LIMIT $1) AS first),
                (SELECT count(*) FROM (SELECT FROM pgstream.webhook_dead_letters
                                        WHERE endpoint IS NULL LIMIT $1) AS first)",
    )
    .bind(i64::from(most))
    .fetch_one(pool)
    .await
    .map_err(reading())?;
    Ok((of_endpoints.unsigned_abs(), without.unsigned_abs()))
}

/// The number of a replay that begins now.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn replay_run(pool: &PgPool) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .fetch_one(pool)
        .await
        .map_err(reading())
}

/// Puts the oldest letters of `endpoint` that fulfil the filter into the backlog of `target`, at most `limit` and none
/// with a number above `last`, in one transaction: whatever interrupts it, a letter is in one of the two places. They
/// keep their `webhook-id`, and are as if they had never been tried.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn replay(
    pool: &PgPool,
    filter: &LetterFilter,
    (endpoint, target): (&str, &str),
    run: i64,
    last: i64,
    limit: u32,
) -> Result<Replayed, StoreError> {
    let filter = &LetterFilter {
        endpoint: Some(endpoint.to_owned()),
        ..filter.clone()
    };
    let failed = || StoreError::query("replay dead letters");
    let mut transaction = pool.begin().await.map_err(failed())?;
    lock(&mut transaction, &[target]).await.map_err(failed())?;
    let mut query =
        QueryBuilder::new("WITH picked AS (SELECT id FROM pgstream.webhook_dead_letters WHERE id <= ");
    query.push_bind(last);
    restrict(&mut query, filter);
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit));
    query.push(
        " FOR UPDATE),
          gone AS (DELETE FROM pgstream.webhook_dead_letters letter USING picked WHERE letter.id = picked.id
                   RETURNING letter.*),
          put AS (INSERT INTO pgstream.webhook_backlog
                    (endpoint, webhook_id, replay_run, origin, schema_name, table_name, root_schema, root_table, action,
                     table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload)
                  SELECT ",
    );
    query
        .push_bind(target)
        .push(", webhook_id, ")
        .push_bind(run)
        .push(
            ", 'replay', schema_name, table_name, root_schema, root_table, action,
                         table_key, lane, moved_to, key_set, source, epoch, commit_lsn, lsn, payload
                    FROM gone ORDER BY id
                      ON CONFLICT (endpoint, webhook_id, replay_run) DO NOTHING
                  RETURNING 1)
         SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM put)",
        );
    let (taken, put): (i64, i64) = query
        .build_query_as()
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed())?;
    tell(&mut transaction, &[target]).await.map_err(failed())?;
    let more = remain(&mut transaction, filter, last).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    Ok(Replayed {
        taken: taken.unsigned_abs(),
        put: put.unsigned_abs(),
        more,
    })
}

/// Deletes the oldest letters that fulfil the filter, at most `limit` and none with a number above `last`, and says how
/// many it was.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn discard(pool: &PgPool, filter: &LetterFilter, last: i64, limit: u32) -> Result<u64, StoreError> {
    let mut query = QueryBuilder::new(
        "DELETE FROM pgstream.webhook_dead_letters WHERE id IN
            (SELECT id FROM pgstream.webhook_dead_letters WHERE id <= ",
    );
    query.push_bind(last);
    restrict(&mut query, filter);
    query
        .push(" ORDER BY id LIMIT ")
        .push_bind(i64::from(limit))
        .push(")");
    let outcome = query.build().execute(pool).await;
    Ok(outcome
        .map_err(StoreError::query("discard dead letters"))?
        .rows_affected())
}

async fn remain(session: &mut PgConnection, filter: &LetterFilter, last: i64) -> Result<bool, sqlx::Error> {
    let mut query =
        QueryBuilder::new("SELECT EXISTS (SELECT FROM pgstream.webhook_dead_letters WHERE id <= ");
    query.push_bind(last);
    restrict(&mut query, filter);
    query.push(")");
    query.build_query_scalar().fetch_one(session).await
}

/// Adds what the filter asks for; only that, so that the server can choose an index by it.
fn restrict(query: &mut QueryBuilder<Postgres>, filter: &LetterFilter) {
    let LetterFilter {
        endpoint,
        schema,
        table,
        since,
        until,
        id,
        reason,
    } = filter;
    let moment = |query: &mut QueryBuilder<Postgres>, comparison: &str, time: SystemTime| {
        query
            .push(comparison)
            .push("'epoch'::timestamptz + ")
            .push_bind(micros(time))
            .push(" * interval '1 microsecond'");
    };
    if let Some(endpoint) = endpoint {
        query.push(" AND endpoint = ").push_bind(endpoint.clone());
    }
    if let Some(table) = table {
        let schema = schema.clone();
        query.push(" AND ((table_name = ").push_bind(table.clone());
        if let Some(schema) = schema.clone() {
            query.push(" AND schema_name = ").push_bind(schema);
        }
        query.push(") OR (root_table = ").push_bind(table.clone());
        if let Some(schema) = schema {
            query.push(" AND root_schema = ").push_bind(schema);
        }
        query.push("))");
    }
    if let Some(since) = since {
        moment(query, " AND died_at >= ", *since);
    }
    if let Some(until) = until {
        moment(query, " AND died_at < ", *until);
    }
    match id {
        Some(LetterId::Number(id)) => {
            query.push(" AND id = ").push_bind(*id);
        }
        Some(LetterId::Webhook(id)) => {
            query.push(" AND webhook_id = ").push_bind(id.clone());
        }
        None => {}
    }
    if let Some(reason) = reason {
        query.push(" AND reason = ").push_bind(reason.clone());
    }
}

fn letter(row: &PgRow) -> Result<Letter, sqlx::Error> {
    let at = |column: &str| -> Result<Option<SystemTime>, sqlx::Error> { Ok(time(row.try_get(column)?)) };
    Ok(Letter {
        id: row.try_get("id")?,
        endpoint: row.try_get("endpoint")?,
        webhook_id: row.try_get("webhook_id")?,
        replay_run: row.try_get("replay_run")?,
        origin: row.try_get("origin")?,
        schema: row.try_get("schema_name")?,
        table: row.try_get("table_name")?,
        root_schema: row.try_get("root_schema")?,
        root_table: row.try_get("root_table")?,
        action: row.try_get("action")?,
        commit_lsn: row.try_get("commit_lsn")?,
        lsn: row.try_get("lsn")?,
        bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or_default(),
        first_error: row.try_get("first_error")?,
        last_error: row.try_get("last_error")?,
        first_attempt_at: at("first_attempt_at")?,
        last_attempt_at: at("last_attempt_at")?,
        reason: row.try_get("reason")?,
        died_at: at("died_at")?.unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn reading() -> impl FnOnce(sqlx::Error) -> StoreError {
    StoreError::query("read pgstream.webhook_dead_letters")
}
