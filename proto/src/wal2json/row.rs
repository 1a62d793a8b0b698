//! The other direction: a row that did not come from the plugin, as the record of an INSERT that it would have printed.

use std::fmt::Write;

use super::columns::{
    BEFORE_NAME, BEFORE_TYPE, BEFORE_VALUE, ColumnSpans, Columns, KeyColumnSpans, KeyColumns,
};
use super::cursor::Span;
use super::header::Header;
use super::{Action, JsonStr, MAX_COLUMNS, Record, plain_prefix};

/// What stands around a column, or around one of `pk`.
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
    /// What all rows share, and behind it the columns of the row that was written last, as wal2json prints them.
    text: String,
    /// Where the columns begin.
    fixed: usize,
    timestamp: Span,
    schema: Span,
    table: Span,
    beginnings: Vec<Beginning>,
    columns: Vec<ColumnSpans>,
    pk: Vec<KeyColumnSpans>,
}

/// What is the same of a column in all rows: `"name":…,"type":…,"value":`.
#[derive(Debug)]
struct Beginning {
    text: String,
    name_len: usize,
    type_len: usize,
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
        let mut key: Vec<&RowColumn<'_>> = columns
            .iter()
            .filter(|column| column.key_position.is_some())
            .collect();
        key.sort_by_key(|column| column.key_position);
        let mut pk = Vec::with_capacity(key.len());
        for column in key {
            pk.push(KeyColumnSpans {
                name: json(column.name)?,
                type_name: json(column.type_name)?,
            });
        }
        Ok(Self {
            fixed: text.len(),
            text,
            timestamp,
            schema,
            table,
            beginnings: columns.iter().map(Beginning::of).collect(),
            columns: Vec::with_capacity(columns.len()),
            pk,
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
        self.columns.clear();
        for (number, beginning) in self.beginnings.iter().enumerate() {
            let start = self.text.len();
            self.text.push_str(&beginning.text);
            value(number, &mut self.text)?;
            let spans = beginning.spans(start, self.text.len());
            self.columns.push(spans.ok_or(RowTooLong)?);
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

impl Beginning {
    fn of(column: &RowColumn<'_>) -> Self {
        let mut text = BEFORE_NAME.to_owned();
        push_json(column.name, &mut text);
        let name_len = text.len() - BEFORE_NAME.len();
        text.push_str(BEFORE_TYPE);
        let type_start = text.len();
        push_json(column.type_name, &mut text);
        let type_len = text.len() - type_start;
        text.push_str(BEFORE_VALUE);
        Self {
            text,
            name_len,
            type_len,
        }
    }

    /// The parts of the column that begins so and ends here.
    fn spans(&self, start: usize, end: usize) -> Option<ColumnSpans> {
        let name = start + BEFORE_NAME.len();
        let type_name = name + self.name_len + BEFORE_TYPE.len();
        Some(ColumnSpans {
            name: Span::between(name, name + self.name_len)?,
            type_name: Span::between(type_name, type_name + self.type_len)?,
            value: Span::between(start + self.text.len(), end)?,
        })
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
                    (text(column.name()), text(column.type_name()), column.value())
                })
                .collect();
            let expected = [("id", "integer"), ("a \"b\"", "text"), ("c", "\"My type\"")];
            for ((name, type_name, value), (expected, value_expected)) in
                read.iter().zip(expected.iter().zip(values))
            {
                assert_eq!((name.as_str(), type_name.as_str()), *expected);
                assert_eq!(*value, value_expected);
            }
            assert_eq!(columns.iter().nth(1).unwrap().name().raw(), r#""a \"b\"""#);
            let printed = format!(r#""name":"id","type":"integer","value":{}"#, values[0]);
            assert_eq!(columns.iter().next().unwrap().printed(), Some(printed.as_str()));
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
            .map(|column| column.value())
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
