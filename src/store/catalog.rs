//! What the source's catalogs say about a table.

use sqlx::{AssertSqlSafe, PgPool};

use super::StoreError;

/// The 64-bit number of the transaction whose 32 bits are `$1`: of all that end so, the one nearest to the snapshot's. It
/// may be beyond that while older ones are open.
pub(super) const FULL_XID: &str = "(SELECT next + (($1 - next + 2147483648) & 4294967295) - 2147483648 \
                                   FROM txid_snapshot_xmax(txid_current_snapshot()) AS next)";

/// What the catalogs say about a table's place among partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionRoot {
    /// It is in the partition tree of this root.
    Of {
        /// The root's schema.
        schema: String,
        /// The root's name.
        table: String,
    },
    /// It is in no partition tree.
    Itself,
    /// There is no such table, or not any more.
    Missing,
}

/// Whether other sessions see what a transaction did that has been committed.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn is_visible(pool: &PgPool, xid: u32) -> Result<bool, StoreError> {
    let query = format!("SELECT txid_visible_in_snapshot({FULL_XID}, txid_current_snapshot())");
    sqlx::query_scalar(AssertSqlSafe(query))
        .bind(i64::from(xid))
        .fetch_one(pool)
        .await
        .map_err(StoreError::query("ask whether a transaction can be seen"))
}

/// Whether other sessions see what all of these transactions did, which have been committed.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn are_visible(pool: &PgPool, xids: &[u32]) -> Result<bool, StoreError> {
    let full = FULL_XID.replace("$1", "x");
    let query = format!(
        "SELECT coalesce(bool_and(txid_visible_in_snapshot({full}, txid_current_snapshot())), true)
           FROM unnest($1::bigint[]) AS x"
    );
    sqlx::query_scalar(AssertSqlSafe(query))
        .bind(xids.iter().copied().map(i64::from).collect::<Vec<_>>())
        .fetch_one(pool)
        .await
        .map_err(StoreError::query("ask whether transactions can be seen"))
}

/// Whether there is a partitioned table.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn has_partitioned_tables(pool: &PgPool) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_partitioned_table)")
        .fetch_one(pool)
        .await
        .map_err(StoreError::query("ask for partitioned tables"))
}

/// The root of the partition tree that this table is a leaf or a branch of.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn partition_root(pool: &PgPool, schema: &str, table: &str) -> Result<PartitionRoot, StoreError> {
    let row: Option<(Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT root_schema.nspname::text, root.relname::text
           FROM pg_class AS leaf
           JOIN pg_namespace AS leaf_schema ON leaf_schema.oid = leaf.relnamespace
           LEFT JOIN pg_class AS root ON root.oid = pg_partition_root(leaf.oid)
           LEFT JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
          WHERE leaf_schema.nspname = $1 AND leaf.relname = $2",
    )
    .bind(schema)
    .bind(table)
    .fetch_optional(pool)
    .await
    .map_err(StoreError::query("look up a table's partition root"))?;
    Ok(match row {
        None => PartitionRoot::Missing,
        Some((Some(schema), Some(table))) => PartitionRoot::Of { schema, table },
        Some(_) => PartitionRoot::Itself,
    })
}
