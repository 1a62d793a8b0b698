//! The other direction: a row that did not come from the plugin, as the record of an INSERT that it would have printed.

use std::fmt::Write;

use super::columns::{ColumnSpans, Columns, KeyColumnSpans, KeyColumns};
use super::cursor::Span;
use super::header::Header;
use super::{Action, JsonStr, MAX_COLUMNS, Record, plain_prefix};

/// What stands around the parts of a column: `{"name":,"type":,"value":},`.
const COLUMN_LEN: usize = 26;
/// What stands around the rest: keys, the action, an LSN.
const RECORD_LEN: usize = 128;

/// A column of the rows to be written.
#[derive(Debug, Clone, Copy)]
pub struct RowColumn<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type, as `format_type` writes it.
    pub type_name: &'a str,
    /// Where it stands in the primary key, if it does.
    pub key_position: Option<usize>,
}

/// Makes records out of the rows of one table.
///
/// What is the same in all of them is written once; a row adds its values. Once warm it allocates nothing for a row.
#[derive(Debug)]
pub struct RowWriter {
    /// Names and types, and behind them the values of the row that was written last.
    text: String,
    /// Where the values begin.
    fixed: usize,
    timestamp: Span,
    schema: Span,
    table: Span,
    columns: Vec<ColumnSpans>,
    pk: Vec<KeyColumnSpans>,
}

/// A row that makes no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of more than 4 GB")]
pub struct RowTooLong;

impl RowWriter {
    /// Writes rows of this table, read at this time (as wal2json prints it) and with these columns, in their order.
    ///
    /// # Errors
    /// [`RowTooLong`], if the names alone are, or there are more columns than a table can have.
    pub fn new(
        schema: &str,
        table: &str,
        timestamp: &str,
        columns: &[RowColumn<'_>],
    ) -> Result<Self, RowTooLong> {
        if columns.len() > MAX_COLUMNS {
            return Err(RowTooLong);
        }
        let mut text = String::new();
        let mut json = |content: &str| {
            let start = text.len();
            push_json(content, &mut text);
            Span::between(start, text.len()).ok_or(RowTooLong)
        };
        let (timestamp, schema, table) = (json(timestamp)?, json(schema)?, json(table)?);
        // Until there is a row.
        let no_value = Span::between(0, 0).ok_or(RowTooLong)?;
        let mut spans = Vec::with_capacity(columns.len());
        let mut pk = Vec::new();
        for column in columns {
            let (name, type_name) = (json(column.name)?, json(column.type_name)?);
            spans.push(ColumnSpans {
                name,
                type_name,
                value: no_value,
            });
            if let Some(position) = column.key_position {
                pk.push((position, KeyColumnSpans { name, type_name }));
            }
        }
        pk.sort_by_key(|(position, _)| *position);
        Ok(Self {
            fixed: text.len(),
            text,
            timestamp,
            schema,
            table,
            columns: spans,
            pk: pk.into_iter().map(|(_, spans)| spans).collect(),
        })
    }

    /// The record of a row, and a bound of how long wal2json would have printed it. `value` is called for each column, with its number, and appends its value, which has to be one
    /// JSON value.
    ///
    /// # Errors
    /// What `value` returns, and [`RowTooLong`].
    pub fn row<E: From<RowTooLong>>(
        &mut self,
        mut value: impl FnMut(usize, &mut String) -> Result<(), E>,
    ) -> Result<(Record<'_>, usize), E> {
        self.text.truncate(self.fixed);
        for (number, column) in self.columns.iter_mut().enumerate() {
            let start = self.text.len();
            value(number, &mut self.text)?;
            column.value = Span::between(start, self.text.len()).ok_or(RowTooLong)?;
        }
        let text = self.text.as_str();
        let len = text.len() + self.columns.len() * COLUMN_LEN + self.pk.len() * COLUMN_LEN + RECORD_LEN;
        let name = |span: Span| Some(JsonStr::from_scanned(span.text(text)));
        let record = Record {
            header: Header {
                action: Action::Insert,
                xid: None,
                timestamp: name(self.timestamp),
                lsn: None,
                nextlsn: None,
                schema: name(self.schema),
                table: name(self.table),
                transactional: None,
            },
            columns: Some(Columns::new(text, &self.columns)),
            identity: None,
            pk: Some(KeyColumns::new(text, &self.pk)),
            prefix: None,
            content: None,
            origin: None,
        };
        Ok((record, len))
    }
}

/// Appends a text as a JSON string, as wal2json writes it.
fn push_json(content: &str, out: &mut String) {
    out.push('"');
    let mut left = content;
    loop {
        let (plain, behind) = left.split_at(plain_prefix(left.as_bytes()));
        out.push_str(plain);
        let Some(special) = behind.chars().next() else {
            break;
        };
        // Writing to a string cannot fail.
        let _ = match special {
            '"' | '\\' => write!(out, "\\{special}"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            control => write!(out, "\\u{:04x}", u32::from(control)),
        };
        left = &behind[special.len_utf8()..];
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column<'a>(name: &'a str, type_name: &'a str, key_position: Option<usize>) -> RowColumn<'a> {
        RowColumn {
            name,
            type_name,
            key_position,
        }
    }

    #[test]
    fn a_row_is_the_record_of_its_insert() {
        let columns = [
            column("id", "integer", Some(1)),
            column("a \"b\"", "text", None),
            column("c", "\"My type\"", Some(0)),
        ];
        let mut writer = RowWriter::new("public", "t", "2026-11-28 17:00:00+00", &columns).unwrap();
        for values in [["1", "null", r#""x""#], ["22", r#""long enough""#, "2.50"]] {
            let (record, _) = writer
                .row(|number, out| {
                    out.push_str(values[number]);
                    Ok::<_, RowTooLong>(())
                })
                .unwrap();
            let columns = record.columns.unwrap();
            let read: Vec<(String, String, &str)> = columns
                .iter()
                .map(|column| {
                    let text = |text: JsonStr<'_>| text.unescape().into_owned();
                    (text(column.name), text(column.type_name), column.value)
                })
                .collect();
            let expected = [("id", "integer"), ("a \"b\"", "text"), ("c", "\"My type\"")];
            for ((name, type_name, value), (expected, value_expected)) in
                read.iter().zip(expected.iter().zip(values))
            {
                assert_eq!((name.as_str(), type_name.as_str()), *expected);
                assert_eq!(*value, value_expected);
            }
            assert_eq!(columns.iter().nth(1).unwrap().name.raw(), r#""a \"b\"""#);
            let key = record.pk.unwrap();
            let key: Vec<_> = key.iter().map(|column| column.name.unescape()).collect();
            assert_eq!(key, ["c", "id"]);
            assert_eq!(record.header.action, Action::Insert);
            assert_eq!(record.header.table.unwrap(), "t");
            assert!(record.identity.is_none());
        }
    }

    #[test]
    fn an_error_within_a_row_leaves_the_writer_usable() {
        #[derive(Debug, PartialEq)]
        struct Odd;
        impl From<RowTooLong> for Odd {
            fn from(_: RowTooLong) -> Self {
                Self
            }
        }
        let columns = [column("a", "text", None), column("b", "text", None)];
        let mut writer = RowWriter::new("s", "t", "now", &columns).unwrap();
        let failed = writer.row(|number, out| {
            out.push_str("12345");
            if number == 1 { Err(Odd) } else { Ok(()) }
        });
        assert_eq!(failed.unwrap_err(), Odd);
        let row = writer.row(|_, out| {
            out.push('7');
            Ok::<_, Odd>(())
        });
        let values: Vec<&str> = row
            .unwrap()
            .0
            .columns
            .unwrap()
            .iter()
            .map(|column| column.value)
            .collect();
        assert_eq!(values, ["7", "7"]);
    }

    #[test]
    fn names_are_escaped_as_wal2json_does() {
        let mut out = String::new();
        push_json("\u{8}\u{c}\n\r\t\u{b}\u{1}\u{7f}/\"\\é", &mut out);
        assert_eq!(out, "\"\\b\\f\\n\\r\\t\\u000b\\u0001\u{7f}/\\\"\\\\é\"");
    }

    proptest! {
        #[test]
        fn any_name_is_read_back(name in any::<String>(), odd in "[\0-\x1f\"\\\\aé]{0,20}") {
            for name in [name, odd] {
                let mut out = String::new();
                push_json(&name, &mut out);
                prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), name);
            }
        }
    }
}
