//! The server's settings and the role's rights, as `init` has to know them before it changes anything.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgPool, Row};

use pgstream_proto::Lsn;

use super::StoreError;

/// What a server says about itself, its settings and the role that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The version as PostgreSQL prints it, for people.
    pub version: String,
    /// The version as a number, for example `150018`.
    pub version_num: i32,
    /// Whether it is a standby, which takes no changes.
    pub in_recovery: bool,
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub max_replication_slots: i64,
    /// How many slots there are.
    pub slots: i64,
    /// `max_wal_senders`.
    pub max_wal_senders: i64,
    /// How many walsenders are running.
    pub wal_senders: i64,
    /// `output_plugin_libraries`, where the server knows it and the role may see it: the output plugins that may be
    /// used.
    pub output_plugin_libraries: Option<String>,
    /// The database that was asked.
    pub database: String,
    /// The role that asks.
    pub role: String,
    /// Whether the role may use replication slots.
    pub may_replicate: bool,
    /// Whether the role may create schema `pgstream`, or objects in it where it exists.
    pub may_create: bool,
}

impl FromRow<'_, PgRow> for Server {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            version: row.try_get("version")?,
            version_num: row.try_get("version_num")?,
            in_recovery: row.try_get("in_recovery")?,
            wal_level: row.try_get("wal_level")?,
            max_replication_slots: row.try_get("max_replication_slots")?,
            slots: row.try_get("slots")?,
            max_wal_senders: row.try_get("max_wal_senders")?,
            wal_senders: row.try_get("wal_senders")?,
            output_plugin_libraries: row.try_get("output_plugin_libraries")?,
            database: row.try_get("database")?,
            role: row.try_get("role")?,
            may_replicate: row.try_get("may_replicate")?,
            may_create: row.try_get("may_create")?,
        })
    }
}

/// Asks the server of this database.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn describe(pool: &PgPool) -> Result<Server, StoreError> {
    sqlx::query_as(
        // pg_settings leaves out what the role may not see, where current_setting() would fail.
        // rds_replication is what hosted PostgreSQL has in the place of the REPLICATION attribute.
        "SELECT current_setting('server_version') AS version,
                current_setting('server_version_num')::integer AS version_num,
                pg_is_in_recovery() AS in_recovery,
                current_setting('wal_level') AS wal_level,
                current_setting('max_replication_slots')::bigint AS max_replication_slots,
                (SELECT count(*) FROM pg_replication_slots) AS slots,
                current_setting('max_wal_senders')::bigint AS max_wal_senders,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender') AS wal_senders,
                (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS output_plugin_libraries,
                current_database()::text AS database,
                current_user::text AS role,
                (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
                    OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication'
                                                      AND pg_has_role(oid, 'MEMBER')) AS may_replicate,
                coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'pgstream'),
                         has_database_privilege(current_database(), 'CREATE')) AS may_create",
    )
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("read the server's settings"))
}

/// Whether the role may create event triggers. Tried rather than read from its attributes, because hosted
/// PostgreSQL gives the right to roles that are no superusers. What was tried is rolled back.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn may_create_event_triggers(pool: &PgPool) -> Result<bool, StoreError> {
    const TRIAL: &str = "
        CREATE FUNCTION pg_temp.pgstream_trial() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER pgstream_trial ON ddl_command_end EXECUTE FUNCTION pg_temp.pgstream_trial();";
    const ACTION: &str = "try to create an event trigger";
    const INSUFFICIENT_PRIVILEGE: &str = "42501";
    let mut transaction = pool.begin().await.map_err(StoreError::query(ACTION))?;
    let tried = sqlx::raw_sql(TRIAL)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::query(ACTION));
    transaction.rollback().await.map_err(StoreError::query(ACTION))?;
    match tried {
        Ok(_) => Ok(true),
        Err(error) if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether it only follows another one.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn is_standby(pool: &PgPool) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(pool)
        .await
        .map_err(StoreError::query("ask whether the server is a stand-by"))
}

/// The end of the WAL that is on disk.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn wal_end(pool: &PgPool) -> Result<Lsn, StoreError> {
    const ACTION: &str = "ask for the end of the WAL";
    let end: String = sqlx::query_scalar("SELECT pg_current_wal_flush_lsn()::text")
        .fetch_one(pool)
        .await
        .map_err(StoreError::query(ACTION))?;
    end.parse()
        .map_err(|_| StoreError::query(ACTION)(sqlx::Error::Decode(format!("{end:?} is not an LSN").into())))
}

/// When the server was started: another time means that it was restarted, or is another one.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn started_at(pool: &PgPool) -> Result<String, StoreError> {
    sqlx::query_scalar("SELECT pg_postmaster_start_time()::text")
        .fetch_one(pool)
        .await
        .map_err(StoreError::query("ask when the server was started"))
}

/// Writes a message of our own, outside of any transaction, which nobody is sent.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn heartbeat(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_logical_emit_message(false, 'pgstream.heartbeat', '')")
        .execute(pool)
        .await
        .map(drop)
        .map_err(StoreError::query("write a heartbeat"))
}
