//! From a line of COPY to the record of an insert, as wal2json prints it.

use pgstream_proto::copy_text::{CopyError, Fields};
use pgstream_proto::wal2json::{Record, RowColumn, RowTooLong, RowWriter};

use super::model::{Relation, Shape, ValueKind};
use crate::event::RowVersion;

/// Why a line makes no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Its text is wrong.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] RowTooLong),
    /// It has more or fewer fields than the table has columns.
    #[error("a row with another number of fields than the table has columns")]
    Fields,
}

/// Reads the rows of a table.
#[derive(Debug)]
pub struct RowReader {
    writer: RowWriter,
    kinds: Vec<ValueKind>,
}

/// The version of a row, which stands in the first two fields of its line, and the rest of the line.
#[must_use]
pub fn version(line: &[u8]) -> Option<(RowVersion<'_>, &[u8])> {
    let mut fields = line.splitn(3, |byte| *byte == b'\t');
    let ctid = std::str::from_utf8(fields.next()?).ok()?;
    let xmin = fields.next()?;
    // A table may have no columns at all.
    let rest = fields.next().unwrap_or_default();
    let xmin = std::str::from_utf8(xmin.strip_suffix(b"\n").unwrap_or(xmin)).ok()?;
    Some((RowVersion::read(ctid, xmin)?, rest))
}

impl RowReader {
    /// Reads rows of this table, as the snapshot of this time shows it.
    ///
    /// # Errors
    /// [`RowTooLong`]
    pub fn new(table: &Relation, shape: &Shape, taken_at: &str) -> Result<Self, RowTooLong> {
        let columns: Vec<RowColumn<'_>> = shape
            .columns
            .iter()
            .map(|column| RowColumn {
                name: &column.name,
                type_name: &column.type_name,
                key_position: column.key_position,
            })
            .collect();
        Ok(Self {
            writer: RowWriter::new(&table.schema, &table.name, taken_at, &columns)?,
            kinds: shape.columns.iter().map(|column| column.kind).collect(),
        })
    }

    /// The record of the row with these values, which is a line without what [`version`] reads; and a bound of how long
    /// wal2json would have printed it.
    ///
    /// # Errors
    /// [`RowError`]; the reader stays usable.
    pub fn record(&mut self, values: &[u8]) -> Result<(Record<'_>, usize), RowError> {
        let mut fields = Fields::of(values)?;
        let row = self.writer.row(|number, out| {
            let is_there = push_value(self.kinds[number], &mut fields, out)?;
            is_there.then_some(()).ok_or(RowError::Fields)
        })?;
        // Of a table without columns the line is empty, and not without fields.
        if fields.is_at_end() || self.kinds.is_empty() {
            Ok(row)
        } else {
            Err(RowError::Fields)
        }
    }
}

/// Appends a value as wal2json prints it. False if there is none.
fn push_value(kind: ValueKind, fields: &mut Fields<'_>, out: &mut String) -> Result<bool, CopyError> {
    if fields.null() {
        out.push_str("null");
        return Ok(true);
    }
    let printed = match kind {
        ValueKind::Number => fields.raw().map(number),
        ValueKind::Bool => fields
            .raw()
            .map(|text| if text == "t" { "true" } else { "false" }),
        ValueKind::Bytea => {
            fields.skip_hex_prefix();
            return fields.push_json(out);
        }
        ValueKind::Text => return fields.push_json(out),
    };
    out.push_str(printed.unwrap_or_default());
    Ok(printed.is_some())
}

/// NaN and the infinities are no numbers in JSON.
fn number(text: &str) -> &str {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.starts_with(|first: char| first.is_ascii_digit()) {
        text
    } else {
        "null"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::model::Column;

    fn reader(kinds: &[ValueKind]) -> RowReader {
        let table = Relation::sample("s", "t");
        let columns = kinds.iter().enumerate().map(|(number, kind)| Column {
            name: format!("c{number}"),
            type_name: "x".to_owned(),
            kind: *kind,
            key_position: None,
        });
        let shape = Shape {
            columns: columns.collect(),
            filenode: 1,
        };
        RowReader::new(&table, &shape, "now").unwrap()
    }

    #[test]
    fn values_are_printed_by_their_kind() {
        let kinds = [
            ValueKind::Number,
            ValueKind::Bool,
            ValueKind::Bytea,
            ValueKind::Text,
        ];
        let mut reader = reader(&kinds);
        for (line, expected) in [
            (
                "1.50\tt\t\\\\x00ff\ta \"b\"\\tc",
                r#"1.50 true "00ff" "a \"b\"\tc""#,
            ),
            ("\\N\t\\N\t\\N\t\\N", "null null null null"),
            ("NaN\tf\t\\\\x\t", r#"null false "" """#),
            ("-Infinity\tf\t\\\\x\t\\\\N", r#"null false "" "\\N""#),
            ("-1e-07\tf\t\\\\x\tNaN", r#"-1e-07 false "" "NaN""#),
        ] {
            let (record, _) = reader.record(line.as_bytes()).unwrap();
            let values: Vec<&str> = record
                .columns
                .unwrap()
                .iter()
                .map(|column| column.value())
                .collect();
            assert_eq!(values.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_does_not_fit_is_refused_and_the_next_one_read() {
        let mut reader = reader(&[ValueKind::Number, ValueKind::Text]);
        assert_eq!(reader.record(b"1").unwrap_err(), RowError::Fields);
        assert_eq!(reader.record(b"1\ta\tb").unwrap_err(), RowError::Fields);
        assert_eq!(
            reader.record(b"1\t\xff").unwrap_err(),
            RowError::Copy(CopyError::NotUtf8(2))
        );
        assert_eq!(
            reader.record(b"1\t\\q").unwrap_err(),
            RowError::Copy(CopyError::Escape)
        );
        assert!(reader.record(b"1\ta\n").is_ok());
    }

    #[test]
    fn the_version_stands_before_the_values() {
        let (read, rest) = version(b"(3,7)\t812\ta\tb\n").unwrap();
        assert_eq!((read.page, read.line, read.xmin), ("3", "7", "812"));
        assert_eq!(rest, b"a\tb\n");
        let (read, rest) = version(b"(0,1)\t5\n").unwrap();
        assert_eq!((read.xmin, rest), ("5", &b""[..]));
        for line in [&b"x\t1\ta"[..], b"(0,1)", b"", b"(0,\xff)\t1"] {
            assert!(version(line).is_none());
        }
    }
}
