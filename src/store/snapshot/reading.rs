//! Sessions that read the rows of a table under a snapshot.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use crate::config::PgUrl;
use crate::snapshot::model::{Column, Exported, PageRange, Relation, Shape, ValueKind};
use crate::store::StoreError;
use crate::store::connect::reading_session;

/// The SQLSTATEs of a table that is not there, and of a schema.
const GONE: [&str; 2] = ["42P01", "3F000"];
/// The SQLSTATE of a lock that would have to be waited for.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A session in a read-only transaction that sees one snapshot all along.
#[derive(Debug)]
pub struct Reading {
    session: PgConnection,
}

/// The rows of a range: messages of COPY, one for each row, in its text format. The first two fields are `ctid` and `xmin`.
pub struct Rows<'r>(BoxStream<'r, Result<Bytes, sqlx::Error>>);

impl Reading {
    /// Opens a session and locks a table against being rewritten, truncated, altered or dropped. The snapshot that it is read
    /// under has to be [taken](Self::take_snapshot) only then: so nothing can come between the two, and the snapshot sees the
    /// rows of the table as it is. Waits for whoever alters the table now. None if there is no such table any more.
    ///
    /// # Errors
    /// [`StoreError::Connect`], [`StoreError::ConnectTimeout`], [`StoreError::Query`]
    pub async fn of(url: &PgUrl, table: &Relation) -> Result<Option<Self>, StoreError> {
        let mut session = reading_session(url).await?;
        let lock = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE ONLY {} IN ACCESS SHARE MODE",
            qualified(table)
        );
        let locked = session.execute(AssertSqlSafe(lock)).await;
        match locked.map_err(StoreError::query("lock a table that is to be read")) {
            Ok(_) => Ok(Some(Self { session })),
            Err(error) if GONE.map(Some).contains(&error.sqlstate()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the snapshot that this session reads under from now on, and exports it.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn take_snapshot(&mut self) -> Result<Exported, StoreError> {
        let (sees, taken_at, lsn, name) = sqlx::query_as(
            "SELECT pg_current_snapshot()::text, clock_timestamp()::text, pg_current_wal_insert_lsn()::text,
                    pg_export_snapshot()",
        )
        .fetch_one(&mut self.session)
        .await
        .map_err(StoreError::query("take a snapshot"))?;
        Ok(Exported {
            name,
            sees,
            lsn,
            taken_at,
        })
    }

    /// Opens a session that reads a table under a snapshot that another one has exported, and still holds. None if somebody
    /// waits for a lock that keeps others out: this session would wait behind it, that one for the other session, which waits
    /// for this one, and nobody would notice.
    ///
    /// # Errors
    /// [`StoreError::Connect`], [`StoreError::ConnectTimeout`], [`StoreError::Query`]
    pub async fn under(
        url: &PgUrl,
        table: &Relation,
        exported: &Exported,
    ) -> Result<Option<Self>, StoreError> {
        let mut session = reading_session(url).await?;
        let import = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {};
             LOCK TABLE ONLY {} IN ACCESS SHARE MODE NOWAIT",
            literal(&exported.name),
            qualified(table)
        );
        let imported = session.execute(AssertSqlSafe(import)).await;
        match imported.map_err(StoreError::query("read under a snapshot")) {
            Ok(_) => Ok(Some(Self { session })),
            Err(error) if error.sqlstate() == Some(LOCK_NOT_AVAILABLE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What there is of the table: its columns, its root, the pages of its heap, and what it takes on disk. None if the table
    /// of this number has another name by now, or is gone.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn look(&mut self, table: &Relation) -> Result<Option<(Shape, Relation)>, StoreError> {
        let failed = || StoreError::query("look at a table that is to be read");
        let row = sqlx::query(
            "SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages, pg_table_size(c.oid) AS bytes,
                    pg_relation_filenode(c.oid)::bigint AS filenode,
                    root_schema.nspname::text AS root_schema, root.relname::text AS root_table
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               LEFT JOIN pg_class AS root ON c.relispartition AND root.oid = pg_partition_root(c.oid)
               LEFT JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
              WHERE c.oid = $1::bigint::oid AND n.nspname = $2 AND c.relname = $3",
        )
        .bind(i64::from(table.oid))
        .bind(&table.schema)
        .bind(&table.name)
        .fetch_optional(&mut self.session)
        .await
        .map_err(failed())?;
        let Some(row) = row else {
            return Ok(None);
        };
        let columns = sqlx::query(
            "SELECT a.attname::text AS name, a.atttypid::bigint AS type, format_type(a.atttypid, a.atttypmod) AS type_name,
                    (SELECT k.position FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
                      WHERE k.attnum = a.attnum) AS key_position
               FROM pg_attribute AS a
               LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
              WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
              ORDER BY a.attnum",
        )
        .bind(i64::from(table.oid))
        .fetch_all(&mut self.session)
        .await
        .map_err(failed())?;
        let columns: Result<Vec<Column>, sqlx::Error> = columns.iter().map(column).collect();
        let decoded = columns.and_then(|columns| {
            let count = |column| row.try_get(column).map(i64::unsigned_abs);
            let root: (Option<String>, Option<String>) =
                (row.try_get("root_schema")?, row.try_get("root_table")?);
            let shape = Shape {
                columns,
                filenode: count("filenode")?,
            };
            let table = Relation {
                root: root.0.zip(root.1),
                pages: count("pages")?,
                bytes: count("bytes")?,
                ..table.clone()
            };
            Ok(Some((shape, table)))
        });
        decoded.map_err(failed())
    }

    /// The rows that the snapshot shows in some pages of the table, and of it alone: not those of its children.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn rows(
        &mut self,
        table: &Relation,
        shape: &Shape,
        pages: PageRange,
    ) -> Result<Rows<'_>, StoreError> {
        let rows = self
            .session
            .copy_out_raw(&copy_statement(table, shape, pages))
            .await
            .map_err(StoreError::query("read a table"))?;
        Ok(Rows(rows))
    }
}

impl Rows<'_> {
    /// The next row.
    ///
    /// # Errors
    /// [`StoreError::Query`]
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.0
            .next()
            .await
            .transpose()
            .map_err(StoreError::query("read the rows of a table"))
    }
}

/// `ctid` and `xmin` come first: they tell the version of a row.
fn copy_statement(table: &Relation, shape: &Shape, pages: PageRange) -> String {
    let mut query = String::from("COPY (SELECT ctid, xmin");
    for column in &shape.columns {
        query.push_str(", ");
        query.push_str(&identifier(&column.name));
    }
    query.push_str(&format!(" FROM ONLY {}", qualified(table)));
    if pages.first > 0 || pages.end.is_some() {
        query.push_str(&format!(" WHERE ctid >= '({},0)'", pages.first));
    }
    if let Some(end) = pages.end {
        query.push_str(&format!(" AND ctid < '({end},0)'"));
    }
    query.push_str(") TO STDOUT");
    query
}

fn column(row: &sqlx::postgres::PgRow) -> Result<Column, sqlx::Error> {
    let oid: i64 = row.try_get("type")?;
    let position: Option<i64> = row.try_get("key_position")?;
    Ok(Column {
        name: row.try_get("name")?,
        type_name: row.try_get("type_name")?,
        kind: ValueKind::of_type(u32::try_from(oid).unwrap_or_default()),
        key_position: position.and_then(|position| usize::try_from(position).ok()),
    })
}

fn qualified(table: &Relation) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_of_the_table_alone() {
        let table = Relation::sample("s", "a \"b\"");
        let shape = Shape {
            columns: vec![Column {
                name: "x".to_owned(),
                type_name: "text".to_owned(),
                kind: ValueKind::Text,
                key_position: None,
            }],
            filenode: 1,
        };
        let statement = |first, end| copy_statement(&table, &shape, PageRange { first, end });
        assert_eq!(
            statement(0, None),
            r#"COPY (SELECT ctid, xmin, "x" FROM ONLY "s"."a ""b""") TO STDOUT"#
        );
        assert_eq!(
            statement(8, Some(16)),
            r#"COPY (SELECT ctid, xmin, "x" FROM ONLY "s"."a ""b""" WHERE ctid >= '(8,0)' AND ctid < '(16,0)') TO STDOUT"#
        );
        assert!(statement(0, Some(8)).contains("WHERE ctid >= '(0,0)' AND ctid < '(8,0)'"));
        assert!(statement(8, None).ends_with("WHERE ctid >= '(8,0)') TO STDOUT"));
    }
}
