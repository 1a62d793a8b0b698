//! Records of a real server, captured by `benches/records/capture.sh`.

use std::path::Path;

use super::{Action, Parser, Problem, header, oracle};

macro_rules! captured {
    ($name:literal) => {
        include_bytes!(concat!("../../../../benches/records/", $name, ".json")).as_slice()
    };
}

#[test]
fn all_captures_keep_the_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/records");
    let mut parser = Parser::new();
    let mut captures = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let record = std::fs::read(&path).unwrap();
        let malformed = path.to_string_lossy().contains("malformed_");
        assert_eq!(parser.parse(&record).is_err(), malformed, "{}", path.display());
        oracle::check(&mut parser, &record);
        captures += 1;
    }
    assert!(captures >= 21, "only {captures} captures");
}

#[test]
fn every_action_is_read() {
    for (record, action, table, columns, identity, pk) in [
        (captured!("begin"), Action::Begin, None, None, None, None),
        (captured!("commit"), Action::Commit, None, None, None, None),
        (
            captured!("narrow"),
            Action::Insert,
            Some("narrow"),
            Some(2),
            None,
            Some(1),
        ),
        (
            captured!("order"),
            Action::Insert,
            Some("orders"),
            Some(9),
            None,
            Some(1),
        ),
        (
            captured!("wide"),
            Action::Insert,
            Some("wide"),
            Some(60),
            None,
            Some(1),
        ),
        (
            captured!("insert_keyless"),
            Action::Insert,
            Some("keyless"),
            Some(2),
            None,
            Some(0),
        ),
        (
            captured!("update"),
            Action::Update,
            Some("orders"),
            Some(9),
            Some(1),
            Some(1),
        ),
        (
            captured!("update_full_identity"),
            Action::Update,
            Some("full_identity"),
            Some(3),
            Some(3),
            Some(1),
        ),
        // The unchanged values lie out of line and are absent.
        (
            captured!("update_toast"),
            Action::Update,
            Some("documents"),
            Some(2),
            Some(1),
            Some(1),
        ),
        (
            captured!("delete"),
            Action::Delete,
            Some("orders"),
            None,
            Some(1),
            Some(1),
        ),
        (
            captured!("truncate"),
            Action::Truncate,
            Some("narrow"),
            None,
            None,
            None,
        ),
        (captured!("message"), Action::Message, None, None, None, None),
    ] {
        let mut parser = Parser::new();
        let parsed = parser.parse(record).unwrap();
        assert_eq!(parsed.header.action, action);
        assert_eq!(
            parsed
                .header
                .table
                .map(|name| name.unescape().into_owned())
                .as_deref(),
            table
        );
        assert_eq!(parsed.header.schema.is_some(), table.is_some());
        assert_eq!(
            parsed.columns.map(|list| list.len()),
            columns,
            "columns of {action}"
        );
        assert_eq!(
            parsed.identity.map(|list| list.len()),
            identity,
            "identity of {action}"
        );
        assert_eq!(parsed.pk.map(|list| list.len()), pk, "pk of {action}");
        assert!(parsed.header.lsn.is_some());
        assert_eq!(
            parsed.header.nextlsn.is_some(),
            matches!(action, Action::Begin | Action::Commit)
        );
        assert_eq!(header(record).unwrap(), parsed.header);
    }
}

#[test]
fn an_order_is_read_to_its_last_escape() {
    let mut parser = Parser::new();
    let record = parser.parse(captured!("order")).unwrap();
    let columns = record.columns.unwrap();
    for (name, type_name, value) in [
        ("id", "bigint", "1"),
        ("customer", "text", r#""Zoë \"Zed\" Müller""#),
        ("email", "character varying(120)", r#""zoe@example.com""#),
        ("status", "text", r#""placed""#),
        ("total", "numeric(12,2)", "1249.50"),
        ("paid", "boolean", "true"),
        (
            "note",
            "text",
            r#""Leave at the door.\n\tRing \"twice\" — C:\\tmp, 東京 😀""#,
        ),
        (
            "placed_at",
            "timestamp with time zone",
            r#""2025-03-13 09:52:47.579305+00""#,
        ),
    ] {
        let column = columns.get(name).unwrap();
        assert_eq!(column.type_name(), type_name);
        assert_eq!(column.value(), value);
    }
    assert!(columns.get("no such column").is_none());
    assert_eq!(record.pk.unwrap().get("id").unwrap().type_name, "bigint");
    assert_eq!(record.pk.unwrap().get("customer"), None);
}

#[test]
fn numbers_keep_every_digit_and_what_is_no_number_is_null() {
    let mut parser = Parser::new();
    let columns = parser.parse(captured!("every_type")).unwrap().columns.unwrap();
    let huge = format!("1{}.{}", "0".repeat(400), "0".repeat(16));
    for (name, value) in [
        ("c_bigint", "-9223372036854775808"),
        ("c_real", "3.4028235e+38"),
        ("c_double_tiny", "5e-324"),
        ("c_double_nan", "null"),
        ("c_numeric", "12345678901234567890.12345678901234567890"),
        ("c_numeric_scale", "12.5000"),
        ("c_numeric_huge", &huge),
        ("c_numeric_nan", "null"),
        ("c_numeric_minus_inf", "null"),
        ("c_bool_false", "false"),
        ("c_bytea", r#""00ff5c22""#),
        ("c_positive", r#""7""#),
        ("c_control", "\"\\u0001\\u0002\\b\\f\\n\\r\\t\\u001f\u{7f}\""),
    ] {
        assert_eq!(columns.get(name).unwrap().value(), value, "{name}");
    }
    assert_eq!(
        columns.get("c_odd_moods").unwrap().type_name(),
        r#"public."Odd Mood"[]"#
    );
}

#[test]
fn odd_identifiers_are_found_unescaped() {
    let mut parser = Parser::new();
    let record = parser.parse(captured!("odd_table")).unwrap();
    assert_eq!(record.header.table.unwrap(), r#"odd "names".tab\le ünï😀"#);
    for (name, value) in [
        ("a b", "1"),
        (r#"q"uote"#, r#""q\"""#),
        (r"back\slash", r#""b\\s""#),
        ("do.t", r#""d.t""#),
        ("новый", r#""привет""#),
    ] {
        assert_eq!(
            record.columns.unwrap().get(name).unwrap().value(),
            value,
            "{name}"
        );
    }
    assert_eq!(
        header(captured!("odd_schema")).unwrap().schema.unwrap(),
        r#"sch.ema "x""#
    );
}

#[test]
fn messages_tell_whether_a_transaction_carries_them() {
    let mut parser = Parser::new();
    let message = parser.parse(captured!("message")).unwrap();
    assert_eq!(message.header.transactional, Some(true));
    assert_eq!(message.prefix.unwrap(), r#"audit "x""#);
    assert_eq!(message.content.unwrap(), "{\"who\": \"zoë\"}\n");
    let message = parser.parse(captured!("message_outside_transaction")).unwrap();
    assert_eq!(message.header.transactional, Some(false));
    assert_eq!((message.header.xid, message.header.timestamp), (None, None));
    assert_eq!(message.content.unwrap(), "tick");
}

/// Known bad JSON of wal2json: refused as a whole, while the header in front of it can still be read.
#[test]
fn malformed_records_still_have_a_header() {
    let mut parser = Parser::new();
    let record = captured!("malformed_type_name");
    let error = parser.parse(record).unwrap_err();
    assert_eq!(
        error.problem(),
        Problem::Expected("a comma or the end of an object")
    );
    assert_eq!(
        &record[..error.offset()][error.offset() - 17..],
        br#""type":"sch.ema ""#
    );
    assert_eq!(header(record).unwrap().table.unwrap(), "quoted_type");

    let record = captured!("malformed_message");
    let error = parser.parse(record).unwrap_err();
    assert_eq!(error.problem(), Problem::NotUtf8);
    assert_eq!(record[error.offset()], 0xff);
    assert_eq!(header(record).unwrap().transactional, Some(true));
}
