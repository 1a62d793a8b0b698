//! What the source's catalogs say about a table.

use sqlx::PgPool;

use super::StoreError;

/// The root of the partition tree that this table is a leaf or a branch of, as schema and name.
///
/// `None` for a table that is in no partition tree, and for one that does not exist (any more): it is its own root.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn partition_root(
    pool: &PgPool,
    schema: &str,
    table: &str,
) -> Result<Option<(String, String)>, StoreError> {
    sqlx::query_as(
        "SELECT root_schema.nspname::text, root.relname::text
           FROM pg_class AS leaf
           JOIN pg_namespace AS leaf_schema ON leaf_schema.oid = leaf.relnamespace
           JOIN pg_class AS root ON root.oid = pg_partition_root(leaf.oid)
           JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
          WHERE leaf_schema.nspname = $1 AND leaf.relname = $2",
    )
    .bind(schema)
    .bind(table)
    .fetch_optional(pool)
    .await
    .map_err(StoreError::query("look up a table's partition root"))
}
