//! The body of a webhook: `{"Data": {…}}`, keys in the tutorial's order.
//!
//! Names, types and values are copied as wal2json printed them, byte for byte: no number passes through a float, no
//! string is escaped anew.

use pgstream_proto::Lsn;
use pgstream_proto::wal2json::{Action, Column, Columns, JsonStr, Record};

use super::description::{Description, KnownColumn};
use super::injection::{Injection, Omitted, Walk};

/// What the envelope takes beside the columns, with room to spare: the keys, the LSN, the timestamp, the metadata.
const ENVELOPE_LEN: usize = 320;
/// What each column gains over wal2json's own form, beside its id.
const COLUMN_ID: &[u8] = br#"{"id":"#;
/// The rest of it.
const COLUMN_NAME: &[u8] = br#""name":"#;
/// Both, for a column of which no id is known.
const WITHOUT_ID: &[u8] = br#"{"id":"","#;
/// What a column takes that wal2json did not print, beside its id and its parts.
const COLUMN_LEN: usize = 40;
/// The metadata while no injector fills it, without its closing brace.
const NO_METADATA: &str =
    r#"{"schema_id":null,"table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":"""#;

/// A change as the body of a webhook.
#[derive(Debug)]
pub struct Encoded {
    /// The body.
    pub payload: Vec<u8>,
    /// Whether the table is described and a column of the change is not.
    pub has_unknown_columns: bool,
}

/// An upper bound of the length of the payload of `record`, which was read from `record_len` bytes.
#[must_use]
pub fn encoded_len_bound(record: &Record<'_>, record_len: usize, injection: Option<&Injection<'_>>) -> usize {
    let columns = [record.columns, record.identity]
        .iter()
        .flatten()
        .map(Columns::len)
        .sum::<usize>();
    let injected = injection.map_or(0, |injection| injected_len_bound(injection, columns));
    record_len + columns * (WITHOUT_ID.len() + COLUMN_NAME.len()) + ENVELOPE_LEN + injected
}

/// What an injection adds at most.
fn injected_len_bound(injection: &Injection<'_>, columns: usize) -> usize {
    let Injection { description, omitted } = injection;
    let added = omitted.iter().map(|omitted| match omitted.old {
        Some(old) => {
            let parts = old.name().raw().len() + old.type_name().raw().len() + old.value().len();
            description.longest_id() + parts + COLUMN_LEN
        }
        // Each byte of a name may have to be escaped.
        None => 6 * description.columns()[omitted.at].name.len() + COLUMN_LEN,
    });
    columns * description.longest_id() + description.metadata().len() + added.sum::<usize>()
}

/// Encodes a change, whose LSN is `lsn`, as the body of a webhook. `capacity` is a bound of its length.
#[must_use]
pub fn encode(record: &Record<'_>, lsn: Lsn, capacity: usize, injection: Option<&Injection<'_>>) -> Encoded {
    let header = &record.header;
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(br#"{"Data":{"action":""#);
    out.extend_from_slice(header.action.letter().as_bytes());
    out.extend_from_slice(br#"","timestamp":"#);
    push_or_empty(&mut out, header.timestamp.map(JsonStr::raw));
    out.extend_from_slice(br#","lsn":""#);
    push_lsn(&mut out, lsn);
    out.push(b'"');
    if header.action == Action::Message {
        push_message(&mut out, record);
    }
    out.extend_from_slice(br#","schema":"#);
    push_or_empty(&mut out, header.schema.map(JsonStr::raw));
    out.extend_from_slice(br#","table":"#);
    push_or_empty(&mut out, header.table.map(JsonStr::raw));
    let (columns, identity) = match header.action {
        Action::Insert => (record.columns, None),
        Action::Delete => (None, record.identity),
        Action::Truncate => (None, None),
        _ => (record.columns, record.identity),
    };
    let description = injection.map(|injection| injection.description);
    let known = description.map_or(&[] as &[KnownColumn], Description::columns);
    let omitted = injection.map_or(&[] as &[Omitted<'_>], |injection| &injection.omitted);
    out.extend_from_slice(br#","columns":"#);
    let new_are_known = push_columns(&mut out, columns, known, omitted);
    out.extend_from_slice(br#","identity":"#);
    let old_are_known = push_columns(&mut out, identity, known, &[]);
    out.extend_from_slice(br#","metadata":"#);
    let metadata = description.map_or(NO_METADATA, Description::metadata);
    out.extend_from_slice(metadata.as_bytes());
    push_unchanged(&mut out, known, omitted);
    out.extend_from_slice(b"}}}");
    Encoded {
        payload: out,
        has_unknown_columns: description.is_some_and(Description::is_described)
            && !(new_are_known && old_are_known),
    }
}

/// Writes an LSN as PostgreSQL prints it, which the machinery of formatting would take longer for than for a column.
fn push_lsn(out: &mut Vec<u8>, lsn: Lsn) {
    let number = lsn.as_u64();
    push_hex(out, number >> 32);
    out.push(b'/');
    push_hex(out, number & u64::from(u32::MAX));
}

fn push_hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend(
        (0..digits)
            .rev()
            .map(|digit| DIGITS[(number >> (4 * digit)) as usize & 15]),
    );
}

/// Writes what only a logical message has.
fn push_message(out: &mut Vec<u8>, record: &Record<'_>) {
    let transactional = record.header.transactional == Some(true);
    out.extend_from_slice(br#","transactional":"#);
    out.extend_from_slice(transactional.to_string().as_bytes());
    out.extend_from_slice(br#","prefix":"#);
    push_or_empty(out, record.prefix.map(JsonStr::raw));
    out.extend_from_slice(br#","content":"#);
    push_or_empty(out, record.content.map(JsonStr::raw));
}

fn push_or_empty(out: &mut Vec<u8>, raw: Option<&str>) {
    out.extend_from_slice(raw.unwrap_or(r#""""#).as_bytes());
}

/// Writes the columns of a row, with what was omitted of it in its place, as far as that is known. Returns whether all of
/// them have ids.
fn push_columns(
    out: &mut Vec<u8>,
    columns: Option<Columns<'_>>,
    known: &[KnownColumn],
    omitted: &[Omitted<'_>],
) -> bool {
    let Some(columns) = columns else {
        out.extend_from_slice(b"null");
        return true;
    };
    let mut row = Row {
        out,
        known,
        omitted: omitted.iter(),
        is_first: true,
    };
    row.out.push(b'[');
    let mut walk = Walk::new(known);
    let mut all_are_known = true;
    for column in columns.iter() {
        let at = walk.find(&column);
        if let Some(at) = at {
            row.push_omitted_before(at);
        }
        all_are_known &= at.is_some();
        row.push(at, &column);
    }
    row.push_omitted_before(known.len());
    row.out.push(b']');
    all_are_known
}

/// A row that is being written.
struct Row<'r, 'a> {
    out: &'r mut Vec<u8>,
    known: &'r [KnownColumn],
    /// What is to be written in its place still.
    omitted: std::slice::Iter<'r, Omitted<'a>>,
    is_first: bool,
}

impl Row<'_, '_> {
    fn push_omitted_before(&mut self, end: usize) {
        while let Some(omitted) = self.omitted.as_slice().first()
            && omitted.at < end
        {
            self.omitted.next();
            if let Some(old) = &omitted.old {
                self.push(Some(omitted.at), old);
            }
        }
    }

    /// Writes a column, which stands at `at` among the known ones.
    fn push(&mut self, at: Option<usize>, column: &Column<'_>) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        match at {
            Some(at) => {
                self.out.extend_from_slice(COLUMN_ID);
                self.out.extend_from_slice(self.known[at].id().as_bytes());
                self.out.push(b',');
            }
            None => self.out.extend_from_slice(WITHOUT_ID),
        }
        if let Some(printed) = column.printed() {
            self.out.extend_from_slice(printed.as_bytes());
            self.out.push(b'}');
            return;
        }
        self.out.extend_from_slice(COLUMN_NAME);
        self.out.extend_from_slice(column.name().raw().as_bytes());
        self.out.extend_from_slice(br#","type":"#);
        self.out.extend_from_slice(column.type_name().raw().as_bytes());
        self.out.extend_from_slice(br#","value":"#);
        self.out.extend_from_slice(column.value().as_bytes());
        self.out.push(b'}');
    }
}

/// Writes the names of what was omitted and is not known, if there is any.
fn push_unchanged(out: &mut Vec<u8>, known: &[KnownColumn], omitted: &[Omitted<'_>]) {
    let unknown = omitted.iter().filter(|omitted| omitted.old.is_none());
    for (index, omitted) in unknown.clone().enumerate() {
        let before: &[u8] = if index == 0 {
            br#","unchanged_columns":["#
        } else {
            b","
        };
        out.extend_from_slice(before);
        let name = serde_json::Value::from(known[omitted.at].name.as_str());
        out.extend_from_slice(name.to_string().as_bytes());
    }
    if unknown.count() > 0 {
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use pgstream_proto::wal2json::Parser;

    use super::*;
    use crate::event::KnownTable;

    fn payload(json: &str) -> String {
        let mut parser = Parser::new();
        let record = parser.parse(json.as_bytes()).unwrap();
        let bound = encoded_len_bound(&record, json.len(), None);
        let payload = encode(&record, Lsn::new(0x015A_5C70), bound, None).payload;
        assert!(
            payload.len() <= bound,
            "{} bytes for a bound of {bound}",
            payload.len()
        );
        String::from_utf8(payload).unwrap()
    }

    const METADATA: &str = r#""metadata":{"schema_id":null,"table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":""}"#;

    #[test]
    fn keys_stand_in_the_tutorials_order_and_values_are_untouched() {
        let json = r#"{"action":"I","xid":7,"timestamp":"2025-03-13 09:52:47.579305+00","lsn":"0/15A5C70","schema":"public","table":"a \"b\"","columns":[{"name":"id","type":"numeric","value":123456789012345678901234567890.10},{"name":"n","type":"text","value":"\u00e9\n"}],"pk":[]}"#;
        let expected = format!(
            r#"{{"Data":{{"action":"I","timestamp":"2025-03-13 09:52:47.579305+00","lsn":"0/15A5C70","schema":"public","table":"a \"b\"","columns":[{{"id":"","name":"id","type":"numeric","value":123456789012345678901234567890.10}},{{"id":"","name":"n","type":"text","value":"\u00e9\n"}}],"identity":null,{METADATA}}}}}"#
        );
        assert_eq!(payload(json), expected);
    }

    #[test]
    fn columns_and_identity_are_null_where_the_action_has_none() {
        let identity = r#""identity":[{"name":"id","type":"integer","value":1}]"#;
        let columns = r#""columns":[{"name":"id","type":"integer","value":2}]"#;
        let column = |value: u8| format!(r#"[{{"id":"","name":"id","type":"integer","value":{value}}}]"#);
        for (action, members, expected_columns, expected_identity) in [
            ("U", format!("{columns},{identity}"), column(2), column(1)),
            ("D", identity.to_owned(), "null".to_owned(), column(1)),
            ("I", columns.to_owned(), column(2), "null".to_owned()),
        ] {
            let json =
                format!(r#"{{"action":"{action}","lsn":"0/1","schema":"s","table":"t",{members},"pk":[]}}"#);
            let expected =
                format!(r#""columns":{expected_columns},"identity":{expected_identity},{METADATA}"#);
            assert!(payload(&json).contains(&expected), "{}", payload(&json));
        }
        let truncate = payload(r#"{"action":"T","lsn":"0/1","schema":"s","table":"t"}"#);
        assert!(
            truncate.contains(r#""columns":null,"identity":null"#),
            "{truncate}"
        );
    }

    /// A table `t` with these columns, whose ids are `t-1`, `t-2` and so on.
    fn description(columns: &[&str]) -> Description {
        let columns = columns.iter().enumerate();
        let table = KnownTable {
            id: "t".to_owned(),
            id_columns: Some(vec!["t-1".to_owned(), "t-3".to_owned()]),
            columns: columns
                .map(|(index, name)| KnownColumn::new((*name).to_owned(), &format!("t-{}", index + 1)))
                .collect(),
        };
        Description::new(Some("s"), Some(&table))
    }

    /// What is written of a change of such a table from its columns on, and whether all of it is known.
    fn injected(action: char, members: &str, description: &Description) -> (String, bool) {
        let json =
            format!(r#"{{"action":"{action}","lsn":"0/1","schema":"s","table":"t",{members},"pk":[]}}"#);
        let mut parser = Parser::new();
        let record = parser.parse(json.as_bytes()).unwrap();
        let injection = Injection::new(description, &record);
        let bound = encoded_len_bound(&record, json.len(), Some(&injection));
        let encoded = encode(&record, Lsn::new(1), bound, Some(&injection));
        assert!(
            encoded.payload.len() <= bound,
            "{} for {bound}",
            encoded.payload.len()
        );
        let payload = String::from_utf8(encoded.payload).unwrap();
        serde_json::from_str::<serde_json::Value>(&payload).unwrap();
        let (_, rest) = payload.split_once(r#""table":"t",""#).unwrap();
        (rest.to_owned(), !encoded.has_unknown_columns)
    }

    fn list(name: &str, columns: &[(&str, &str)]) -> String {
        let columns: Vec<String> = columns
            .iter()
            .map(|(name, value)| format!(r#"{{"name":"{name}","type":"x","value":{value}}}"#))
            .collect();
        format!(r#""{name}":[{}]"#, columns.join(","))
    }

    /// What is expected from the columns on: ids, names and values.
    fn expected(columns: &[(&str, &str, &str)], identity: &[(&str, &str, &str)], unchanged: &str) -> String {
        let list = |columns: &[(&str, &str, &str)]| {
            let columns: Vec<String> = columns
                .iter()
                .map(|(id, name, value)| {
                    format!(r#"{{"id":"{id}","name":"{name}","type":"x","value":{value}}}"#)
                })
                .collect();
            format!("[{}]", columns.join(","))
        };
        format!(
            r#"columns":{},"identity":{},"metadata":{{"schema_id":"s","table_pgstream_id":"t","id_col_pgstream_id":["t-1","t-3"],"version_col_pgstream_id":""{unchanged}}}}}}}"#,
            list(columns),
            list(identity),
        )
    }

    #[test]
    fn what_is_known_of_a_table_is_filled_in() {
        let description = description(&["a", "b", "c"]);
        let members = format!(
            "{},{}",
            list("columns", &[("a", "1"), ("b", "2"), ("c", "3")]),
            list("identity", &[("a", "1"), ("c", "4")])
        );
        let columns = [("t-1", "a", "1"), ("t-2", "b", "2"), ("t-3", "c", "3")];
        let identity = [("t-1", "a", "1"), ("t-3", "c", "4")];
        assert_eq!(
            injected('U', &members, &description),
            (expected(&columns, &identity, ""), true)
        );
    }

    #[test]
    fn columns_are_found_in_whatever_order_and_unknown_ones_have_no_id() {
        let description = description(&["a", "b", "c"]);
        let members = format!(
            "{},{}",
            list("columns", &[("new", "0"), ("c", "3"), ("a", "1"), ("b", "2")]),
            list("identity", &[("c", "4"), ("b", "5"), ("x", "6")])
        );
        let columns = [
            ("", "new", "0"),
            ("t-3", "c", "3"),
            ("t-1", "a", "1"),
            ("t-2", "b", "2"),
        ];
        let identity = [("t-3", "c", "4"), ("t-2", "b", "5"), ("", "x", "6")];
        assert_eq!(
            injected('U', &members, &description),
            (expected(&columns, &identity, ""), false)
        );
    }

    #[test]
    fn what_an_update_did_not_touch_is_taken_from_the_old_row_or_named() {
        let description = description(&["a", r#"b"q"#, "c", "d", "e"]);
        let new = list("columns", &[("a", "1"), ("c", "3")]);
        let old = |columns: &[(&str, &str)]| format!("{new},{}", list("identity", columns));
        let written = |more: &[(&'static str, &'static str, &'static str)]| {
            let mut columns = vec![("t-1", "a", "1"), ("t-3", "c", "3")];
            columns.extend(more);
            columns.sort();
            columns
        };
        let full = [("a", "1"), (r#"b\"q"#, "2"), ("c", "0"), ("d", "4"), ("e", "5")];
        let identity = [
            ("t-1", "a", "1"),
            ("t-2", r#"b\"q"#, "2"),
            ("t-3", "c", "0"),
            ("t-4", "d", "4"),
            ("t-5", "e", "5"),
        ];
        let more = [("t-2", r#"b\"q"#, "2"), ("t-4", "d", "4"), ("t-5", "e", "5")];
        assert_eq!(
            injected('U', &old(&full), &description).0,
            expected(&written(&more), &identity, "")
        );
        let key_only = expected(
            &written(&[("t-5", "e", "5")]),
            &[("t-5", "e", "5")],
            r#","unchanged_columns":["b\"q","d"]"#,
        );
        assert_eq!(injected('U', &old(&[("e", "5")]), &description).0, key_only);
        let none = expected(&written(&[]), &[], r#","unchanged_columns":["b\"q","d","e"]"#);
        assert_eq!(injected('U', &old(&[]), &description).0, none);
    }

    #[test]
    fn only_an_update_leaves_out_what_it_did_not_touch() {
        let description = description(&["a", "b"]);
        let (insert, _) = injected('I', &list("columns", &[("a", "1")]), &description);
        let columns = r#"columns":[{"id":"t-1","name":"a","type":"x","value":1}],"identity":null"#;
        assert!(insert.starts_with(columns), "{insert}");
        let (delete, _) = injected('D', &list("identity", &[("a", "1")]), &description);
        assert!(
            !insert.contains("unchanged") && !delete.contains("unchanged"),
            "{delete}"
        );
    }

    #[test]
    fn an_lsn_is_written_as_it_is_printed() {
        for number in [
            0,
            1,
            0xF,
            0x10,
            0x0123_4567_89AB_CDEF,
            u64::MAX,
            1 << 32,
            u64::from(u32::MAX),
        ] {
            let mut out = Vec::new();
            push_lsn(&mut out, Lsn::new(number));
            assert_eq!(String::from_utf8(out).unwrap(), Lsn::new(number).to_string());
        }
    }

    #[test]
    fn of_an_unknown_table_the_schema_may_be_known() {
        let schema = Description::new(Some("s"), None);
        let (written, is_known) = injected('I', &list("columns", &[("a", "1")]), &schema);
        assert!(written.ends_with(r#""metadata":{"schema_id":"s","table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":""}}}"#), "{written}");
        assert!(is_known, "it is not the column that is missing");
        let (written, _) = injected(
            'I',
            &list("columns", &[("a", "1")]),
            &Description::new(None, None),
        );
        assert!(written.ends_with(&format!("{METADATA}}}}}")), "{written}");
    }
}
