//! The body of a webhook: `{"Data": {…}}`, keys in the tutorial's order.
//!
//! Names, types and values are copied as wal2json printed them, byte for byte: no number passes through a float, no
//! string is escaped anew.

use pgstream_proto::Lsn;
use pgstream_proto::wal2json::{Action, Columns, JsonStr, Record};

/// What the envelope takes beside the columns, with room to spare: the keys, the LSN, the timestamp, the metadata.
const ENVELOPE_LEN: usize = 320;
/// What each column gains over wal2json's own form.
const COLUMN_ID: &[u8] = br#"{"id":"","name":"#;
/// The metadata while no injector fills it.
const NO_METADATA: &[u8] =
    br#","metadata":{"schema_id":null,"table_pgstream_id":"","id_col_pgstream_id":null,"version_col_pgstream_id":""}}}"#;

/// An upper bound of the length of the payload of `record`, which was read from `record_len` bytes.
#[must_use]
pub fn encoded_len_bound(record: &Record<'_>, record_len: usize) -> usize {
    let columns = [record.columns, record.identity]
        .iter()
        .flatten()
        .map(Columns::len)
        .sum::<usize>();
    record_len + columns * COLUMN_ID.len() + ENVELOPE_LEN
}

/// Encodes a change, whose LSN is `lsn`, as the body of a webhook. `capacity` is a bound of its length.
#[must_use]
pub fn encode(record: &Record<'_>, lsn: Lsn, capacity: usize) -> Vec<u8> {
    let header = &record.header;
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(br#"{"Data":{"action":""#);
    out.extend_from_slice(header.action.letter().as_bytes());
    out.extend_from_slice(br#"","timestamp":"#);
    push_or_empty(&mut out, header.timestamp.map(JsonStr::raw));
    out.extend_from_slice(br#","lsn":""#);
    out.extend_from_slice(lsn.to_string().as_bytes());
    out.extend_from_slice(br#"","schema":"#);
    push_or_empty(&mut out, header.schema.map(JsonStr::raw));
    out.extend_from_slice(br#","table":"#);
    push_or_empty(&mut out, header.table.map(JsonStr::raw));
    let (columns, identity) = match header.action {
        Action::Insert => (record.columns, None),
        Action::Delete => (None, record.identity),
        Action::Truncate => (None, None),
        _ => (record.columns, record.identity),
    };
    out.extend_from_slice(br#","columns":"#);
    push_columns(&mut out, columns);
    out.extend_from_slice(br#","identity":"#);
    push_columns(&mut out, identity);
    out.extend_from_slice(NO_METADATA);
    out
}

fn push_or_empty(out: &mut Vec<u8>, raw: Option<&str>) {
    out.extend_from_slice(raw.unwrap_or(r#""""#).as_bytes());
}

fn push_columns(out: &mut Vec<u8>, columns: Option<Columns<'_>>) {
    let Some(columns) = columns else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(COLUMN_ID);
        out.extend_from_slice(column.name.raw().as_bytes());
        out.extend_from_slice(br#","type":"#);
        out.extend_from_slice(column.type_name.raw().as_bytes());
        out.extend_from_slice(br#","value":"#);
        out.extend_from_slice(column.value.as_bytes());
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use pgstream_proto::wal2json::Parser;

    use super::*;

    fn payload(json: &str) -> String {
        let mut parser = Parser::new();
        let record = parser.parse(json.as_bytes()).unwrap();
        let bound = encoded_len_bound(&record, json.len());
        let payload = encode(&record, Lsn::new(0x015A_5C70), bound);
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
}
