//! Tables of the source whose updates and deletes name no row.

use sqlx::PgPool;

use super::StoreError;

/// A table without a replica identity: wal2json sends nothing of its updates and deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unidentified {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Schema and name of the topmost partitioned table that it is a partition of, if it is one.
    pub root: Option<(String, String)>,
    /// Whether it has a primary key that could be its identity.
    pub has_key: bool,
    /// An index that could be its identity.
    pub index: Option<String>,
}

/// All such tables that users can have made, in the order of their names.
///
/// # Errors
/// [`StoreError::Query`]
pub async fn unidentified(pool: &PgPool) -> Result<Vec<Unidentified>, StoreError> {
    type Row = (
        String,
        String,
        Option<String>,
        Option<String>,
        bool,
        Option<String>,
    );
    // A key or an index counts only if it is checked at once: a deferrable one identifies no row.
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT n.nspname::text, c.relname::text, root_schema.nspname::text, root.relname::text, key.is_there,
                (SELECT x.relname::text
                   FROM pg_index AS i
                   JOIN pg_class AS x ON x.oid = i.indexrelid
                  WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                    AND i.indpred IS NULL AND i.indexprs IS NULL
                    AND NOT EXISTS (SELECT FROM pg_attribute AS a
                                     WHERE a.attrelid = c.oid AND NOT a.attnotnull
                                       AND a.attnum = ANY ((i.indkey::smallint[])[0:i.indnkeyatts - 1]))
                  ORDER BY i.indnkeyatts, x.relname LIMIT 1)
           FROM pg_class AS c
           JOIN pg_namespace AS n ON n.oid = c.relnamespace
          CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_index AS i
                                              WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate
                                                AND i.indisvalid)) AS key (is_there)
           LEFT JOIN pg_class AS root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
           LEFT JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
          WHERE c.relkind = 'r' AND c.relpersistence = 'p'
            AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgstream')
            AND CASE c.relreplident
                    WHEN 'd' THEN NOT key.is_there
                    WHEN 'n' THEN true
                    WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_index AS i
                                               WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid)
                    ELSE false
                END
          ORDER BY 1, 2",
    )
    .fetch_all(pool)
    .await
    .map_err(StoreError::query("look for tables without a replica identity"))?;
    let row = |(schema, table, root_schema, root, has_key, index): Row| Unidentified {
        schema,
        table,
        root: root_schema.zip(root),
        has_key,
        index,
    };
    Ok(rows.into_iter().map(row).collect())
}
