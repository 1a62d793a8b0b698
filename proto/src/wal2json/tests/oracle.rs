//! What must hold for any bytes at all, valid or not. The fuzz target includes this file.

use serde_json::Value;

use super::reference::{Reference, ReferenceColumn, ReferenceKeyColumn, Text};
use super::{Action, Columns, Header, JsonStr, KeyColumns, Parser, Record, header};

/// Panics unless the parser keeps its promises on these bytes: it does not panic, its errors lie within the
/// record, and what it accepts serde_json accepts with equal values, all of them borrowed from the record.
pub(crate) fn check(parser: &mut Parser, bytes: &[u8]) {
    let head = header(bytes);
    if let Err(error) = head {
        assert!(
            error.offset() <= bytes.len(),
            "an error outside of the record: {error}"
        );
    }
    match parser.parse(bytes) {
        Ok(record) => {
            check_header(
                head.expect("the header of a valid record is valid"),
                record.header,
            );
            check_record(&record, bytes);
        }
        Err(error) => assert!(
            error.offset() <= bytes.len(),
            "an error outside of the record: {error}"
        ),
    }
}

/// `xid` and `timestamp` may stand behind the point where reading the header alone has ended.
fn check_header(alone: Header<'_>, whole: Header<'_>) {
    assert!(alone.xid.is_none() || alone.xid == whole.xid);
    assert!(alone.timestamp.is_none() || alone.timestamp == whole.timestamp);
    let alone = Header {
        xid: whole.xid,
        timestamp: whole.timestamp,
        ..alone
    };
    assert_eq!(alone, whole);
}

fn check_record(record: &Record<'_>, bytes: &[u8]) {
    // Any nesting, any escape, also below unknown keys. That a number fits a double is not asked of it.
    if let Err(error) = serde_json::from_slice::<Value>(bytes) {
        let error = error.to_string();
        assert!(
            error.starts_with("number out of range"),
            "serde_json refuses the record: {error}"
        );
    }
    let expected: Reference<'_> = serde_json::from_slice(bytes).expect("serde_json accepts the record");
    let header = record.header;
    assert_eq!(header.action.letter(), expected.action.0);
    assert_eq!(header.xid, expected.xid);
    assert_eq!(record.origin, expected.origin);
    let lsn = |text: Option<Text<'_>>| text.map(|text| text.0.parse().expect("the text is an LSN"));
    assert_eq!(header.lsn, lsn(expected.lsn));
    check_optional(header.timestamp, expected.timestamp.as_ref(), bytes);
    // What belongs to other actions is dropped.
    let action = header.action;
    let of_table = |text| Option::filter(text, |_| action.concerns_table());
    check_optional(header.schema, of_table(expected.schema.as_ref()), bytes);
    check_optional(header.table, of_table(expected.table.as_ref()), bytes);
    let borders = matches!(action, Action::Begin | Action::Commit);
    assert_eq!(header.nextlsn, lsn(expected.nextlsn).filter(|_| borders));
    assert_eq!(
        header.transactional,
        expected.transactional.filter(|_| action == Action::Message)
    );
    check_optional(record.prefix, expected.prefix.as_ref(), bytes);
    check_optional(record.content, expected.content.as_ref(), bytes);
    check_columns(record.columns, expected.columns.as_deref(), bytes);
    check_columns(record.identity, expected.identity.as_deref(), bytes);
    check_key_columns(record.pk, expected.pk.as_deref(), bytes);
}

fn check_columns(columns: Option<Columns<'_>>, expected: Option<&[ReferenceColumn<'_>]>, bytes: &[u8]) {
    assert_eq!(columns.map(|columns| columns.len()), expected.map(<[_]>::len));
    let columns = columns.iter().flat_map(Columns::iter);
    for (column, expected) in columns.zip(expected.unwrap_or_default()) {
        check_string(column.name(), &expected.name, bytes);
        check_string(column.type_name(), &expected.type_name, bytes);
        assert_eq!(column.value(), expected.value.get());
        assert!(
            std::ptr::eq(column.value(), expected.value.get()),
            "the same bytes of the record"
        );
    }
}

fn check_key_columns(
    keys: Option<KeyColumns<'_>>,
    expected: Option<&[ReferenceKeyColumn<'_>]>,
    bytes: &[u8],
) {
    assert_eq!(keys.map(|keys| keys.len()), expected.map(<[_]>::len));
    let keys = keys.iter().flat_map(KeyColumns::iter);
    for (key, expected) in keys.zip(expected.unwrap_or_default()) {
        check_string(key.name, &expected.name, bytes);
        check_string(key.type_name, &expected.type_name, bytes);
    }
}

fn check_optional(string: Option<JsonStr<'_>>, expected: Option<&Text<'_>>, bytes: &[u8]) {
    assert_eq!(string.is_some(), expected.is_some());
    if let (Some(string), Some(expected)) = (string, expected) {
        check_string(string, expected, bytes);
    }
}

fn check_string(string: JsonStr<'_>, expected: &Text<'_>, bytes: &[u8]) {
    let (record, raw) = (bytes.as_ptr_range(), string.raw().as_bytes().as_ptr_range());
    assert!(
        record.start <= raw.start && raw.end <= record.end,
        "a span outside of the record"
    );
    assert_eq!(string.unescape(), expected.0);
    assert!(string.is(&expected.0));
    let again: String = serde_json::from_str(string.raw()).expect("the raw form is a JSON string");
    assert_eq!(again, expected.0);
}
