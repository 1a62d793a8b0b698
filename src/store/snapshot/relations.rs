//! The relations of the source.

use sqlx::{PgPool, Row};

use crate::snapshot::model::{Relation, RelationKind};
use crate::store::StoreError;

/// All relations with rows that users can have made, but for temporary ones and our own. How large they are is what VACUUM and
/// ANALYZE have noted: to look at their files would wait for whoever alters any of them.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn relations(source: &PgPool) -> Result<Vec<Relation>, StoreError> {
    let failed = StoreError::query("list the tables of the source");
    let rows = sqlx::query(
        "SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text,
                root_schema.nspname::text AS root_schema, root.relname::text AS root_table,
                has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS is_readable,
                c.relkind IN ('r', 'p') AND row_security_active(c.oid) AS hides_rows,
                c.relpages::bigint AS pages,
                (c.relpages + coalesce(toast.relpages, 0)) * current_setting('block_size')::bigint AS bytes,
                greatest(c.reltuples, 0)::bigint AS estimate
           FROM pg_class AS c
           JOIN pg_namespace AS n ON n.oid = c.relnamespace
           LEFT JOIN pg_class AS toast ON toast.oid = c.reltoastrelid
           LEFT JOIN pg_class AS root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
           LEFT JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
            AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgstream')
          ORDER BY n.nspname, c.relname",
    )
    .fetch_all(source)
    .await;
    let read = rows.and_then(|rows| rows.iter().map(relation).collect::<Result<Vec<_>, _>>());
    read.map(|relations| relations.into_iter().flatten().collect())
        .map_err(failed)
}

fn relation(row: &sqlx::postgres::PgRow) -> Result<Option<Relation>, sqlx::Error> {
    let Some(kind) = RelationKind::from_letter(row.try_get("relkind")?) else {
        return Ok(None);
    };
    let root: (Option<String>, Option<String>) = (row.try_get("root_schema")?, row.try_get("root_table")?);
    Ok(Some(Relation {
        oid: unsigned(row, "oid")?,
        schema: row.try_get("nspname")?,
        name: row.try_get("relname")?,
        root: root.0.zip(root.1),
        kind,
        is_readable: row.try_get("is_readable")?,
        hides_rows: row.try_get("hides_rows")?,
        pages: unsigned(row, "pages")?,
        bytes: unsigned(row, "bytes")?,
        rows: unsigned(row, "estimate")?,
    }))
}

/// A number that is never negative.
fn unsigned<N: TryFrom<i64>>(row: &sqlx::postgres::PgRow, column: &str) -> Result<N, sqlx::Error>
where
    N::Error: std::error::Error + Send + Sync + 'static,
{
    let number: i64 = row.try_get(column)?;
    number
        .try_into()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
