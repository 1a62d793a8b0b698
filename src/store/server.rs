//! The server's settings and the role's rights, as `init` has to know them before it changes anything.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgPool, Row};

use pgstream_proto::Lsn;

use super::StoreError;
use crate::connect::sqlstate::INSUFFICIENT_PRIVILEGE;

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
    /// The encoding of the database.
    pub encoding: String,
    /// `max_slot_wal_keep_size` in bytes; `None` where slots may keep any amount of WAL.
    pub max_slot_wal_keep_size: Option<u64>,
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
            encoding: row.try_get("encoding")?,
            max_slot_wal_keep_size: row
                .try_get::<Option<i64>, _>("max_slot_wal_keep_size")?
                .and_then(|bytes| u64::try_from(bytes).ok()),
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
        // pg_stat_replication shows everybody that a walsender is there, where pg_stat_activity hides what a session is.
        // rds_replication is what hosted PostgreSQL has in the place of the REPLICATION attribute.
        "SELECT current_setting('server_version') AS version,
                current_setting('server_version_num')::integer AS version_num,
                pg_is_in_recovery() AS in_recovery,
                current_setting('wal_level') AS wal_level,
                current_setting('max_replication_slots')::bigint AS max_replication_slots,
                (SELECT count(*) FROM pg_replication_slots) AS slots,
                current_setting('max_wal_senders')::bigint AS max_wal_senders,
                (SELECT count(*) FROM pg_stat_replication) AS wal_senders,
                (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS output_plugin_libraries,
                current_database()::text AS database,
                current_user::text AS role,
                (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
                    OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication'
                                                      AND pg_has_role(oid, 'MEMBER')) AS may_replicate,
                coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'pgstream'),
                         has_database_privilege(current_database(), 'CREATE')) AS may_create,
                current_setting('server_encoding') AS encoding,
                (SELECT nullif(setting::bigint, -1) * 1048576 FROM pg_settings
                  WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_size",
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

/// What the source has of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnSchema {
    /// Schema `pgstream`.
    pub schema: bool,
    /// Table `pgstream.schema_log`.
    pub schema_log: bool,
}

/// Looks what the source has of ours.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn own_schema(pool: &PgPool) -> Result<OwnSchema, StoreError> {
    // Out of the catalogs, since names can be looked up only by roles that may use the schema.
    let (schema, schema_log) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'pgstream'),
                EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                         WHERE n.nspname = 'pgstream' AND c.relname = 'schema_log')",
    )
    .fetch_one(pool)
    .await
    .map_err(StoreError::query("look for schema pgstream"))?;
    Ok(OwnSchema { schema, schema_log })
}

/// Changes a setting of the server by `ALTER SYSTEM`, and has it read its settings again.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn alter_system(pool: &PgPool, statement: &str) -> Result<(), StoreError> {
    let failed = || StoreError::query("change a setting of the server");
    // By itself: it may not be in a transaction, which several statements in one message would be.
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(pool)
        .await
        .map_err(failed())?;
    sqlx::query("SELECT pg_reload_conf()")
        .execute(pool)
        .await
        .map(drop)
        .map_err(failed())
}

/// Whether the server has a setting of this name, be it hidden from the role or not.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn knows_setting(pool: &PgPool, name: &str) -> Result<bool, StoreError> {
    const UNDEFINED_OBJECT: &str = "42704";
    const ACTION: &str = "ask for a setting of the server";
    let asked = sqlx::query("SELECT current_setting($1)")
        .bind(name)
        .execute(pool)
        .await
        .map_err(StoreError::query(ACTION));
    match asked {
        Err(error) if error.sqlstate() == Some(UNDEFINED_OBJECT) => Ok(false),
        // What may not be seen is there.
        Err(error) if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE) => Ok(true),
        asked => asked.map(|_| true),
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

/// Who a server is, and where its WAL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The identifier of the database cluster.
    pub system_identifier: u64,
    /// Its timeline.
    pub timeline: u32,
    /// The end of the WAL that is on disk.
    pub wal_end: Lsn,
}

/// Asks a server who it is. `None` if it is a stand-by, or the role may not ask.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn identify(pool: &PgPool) -> Result<Option<Identified>, StoreError> {
    const ACTION: &str = "ask the server who it is";
    // The last checkpoint may be of the timeline before; the name of the file that is written begins with the present one.
    let asked = sqlx::query_as(
        "SELECT system_identifier::text, left(pg_walfile_name(pg_current_wal_lsn()), 8), pg_current_wal_flush_lsn()::text
           FROM pg_control_system() WHERE NOT pg_is_in_recovery()",
    );
    let asked: Result<Option<(String, String, String)>, _> = asked
        .fetch_optional(pool)
        .await
        .map_err(StoreError::query(ACTION));
    let found = match asked {
        Err(error) if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE) => return Ok(None),
        asked => asked?,
    };
    let Some((system_identifier, timeline, wal_end)) = found else {
        return Ok(None);
    };
    let odd = |text: &str| StoreError::query(ACTION)(sqlx::Error::Decode(format!("{text:?} is odd").into()));
    // The server has it as a signed number.
    let identifier: i64 = system_identifier.parse().map_err(|_| odd(&system_identifier))?;
    Ok(Some(Identified {
        system_identifier: identifier.cast_unsigned(),
        timeline: u32::from_str_radix(&timeline, 16).map_err(|_| odd(&timeline))?,
        wal_end: wal_end.parse().map_err(|_| odd(&wal_end))?,
    }))
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
