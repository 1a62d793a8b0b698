//! What is a record and what is not, case by case.

use super::{Action, JsonStr, MAX_COLUMNS, MAX_DEPTH, Parser, Problem, header, oracle};

const COLUMN: &str = r#"{"name":"id","type":"integer","value":1}"#;

#[test]
fn legal_json_in_unusual_dress_is_read() {
    for record in [
        r#"{"action":"I","schema":"s","table":"t","columns":[]}"#,
        "\n{ \"action\" :\t\"I\" ,\r\n\"schema\":\"s\",\"table\":\"t\" , \"columns\" : [ ] }\n",
        r#"{"columns":[],"table":"t","schema":"s","action":"I"}"#,
        r#"{"\u0061ction":"\u0049","sch\u0065ma":"s","table":"t","columns":[],"lsn":"0\u002f1"}"#,
        r#"{"action":"I","schema":"s","table":"t","columns":[],"new":{"a":[1,{"b":null}]},"new":[]}"#,
        r#"{"action":"I","schema":"s","table":"t","columns":[],"identity":null,"pk":null,"xid":null,"lsn":null}"#,
        r#"{"action":"I","schema":"s","table":"t","columns":[{"value":[ 1 ],"position":1,"type":"t","name":"n"}]}"#,
        r#"{"action":"I","schema":"s","table":"t","columns":[],"pk":[{"name":"n","value":1,"type":"t"}]}"#,
        r#"{"action":"U","schema":"","table":"","columns":[]}"#,
        r#"{"action":"D","schema":"s","table":"t","identity":[]}"#,
        r#"{"action":"T","schema":"s","table":"t","origin":0,"xid":4294967295}"#,
        r#"{"action":"B"}"#,
        r#"{"action":"C","lsn":"FFFFFFFF/ffffffff"}"#,
        r#"{"action":"M","transactional":false,"prefix":"","content":"\ud83d\ude00"}"#,
    ] {
        let mut parser = Parser::new();
        parser
            .parse(record.as_bytes())
            .unwrap_or_else(|error| panic!("{record}: {error}"));
        oracle::check(&mut parser, record.as_bytes());
    }
}

#[test]
fn values_follow_the_grammar_of_json() {
    for value in [
        "0",
        "-0",
        "10",
        "1.0",
        "0.00",
        "-1.5e3",
        "1E+400",
        "1e-7",
        "true",
        "false",
        "null",
        r#""""#,
        "[]",
        "{}",
        "[[],{},[0]]",
        r#"{"a":{"a":1},"a":[]}"#,
        "[ 1 , 2 ]",
        r#"{ "k" : "v" , "l" : 0 }"#,
        "\"\u{7f}\"",
    ] {
        let record = with_value(value);
        let mut parser = Parser::new();
        let columns = parser
            .parse(record.as_bytes())
            .unwrap_or_else(|error| panic!("{value}: {error}"))
            .columns;
        assert_eq!(columns.unwrap().get("n").unwrap().value(), value);
        oracle::check(&mut parser, record.as_bytes());
    }
    for value in [
        "",
        "+1",
        ".5",
        "1.",
        "01",
        "-",
        "--1",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "truee",
        "True",
        "'a'",
        "\"a",
        "\"\n\"",
        "\"\u{1}\"",
        r#""\x""#,
        r#""\u12""#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        "[",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[}",
        "{]",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        "1 2",
        "/* */1",
        "\u{a0}1",
        "\u{feff}1",
    ] {
        let record = with_value(value);
        assert!(Parser::new().parse(record.as_bytes()).is_err(), "{value}");
        assert!(
            serde_json::from_str::<serde_json::Value>(&record).is_err(),
            "{value}"
        );
    }
}

#[test]
fn what_is_no_record_is_refused_where_it_goes_wrong() {
    let expected = Problem::Expected;
    let ends = Problem::EndsBefore;
    let (object, member) = ("the object of a record", "a comma or the end of an object");
    let letter = expected("one of the actions B, C, I, U, D, T and M");
    let xid = expected("a transaction id or null");
    for (record, offset, problem) in [
        ("", 0, ends(object)),
        ("  ", 2, ends(object)),
        ("[]", 0, expected(object)),
        ("{", 1, ends("a key")),
        ("{}", 2, Problem::MissingAction),
        (r#"{"action":"B"} {}"#, 15, expected("the end of the record")),
        (r#"{"action":"B",}"#, 14, expected("a key")),
        (r#"{"action":"B" "xid":1}"#, 14, expected(member)),
        (r#"{"action":"B""#, 13, ends(member)),
        (r#"{"action":"X"}"#, 10, letter),
        (r#"{"action":null}"#, 10, expected("an action's letter")),
        (
            r#"{"action":"B","action":"B"}"#,
            14,
            Problem::DuplicateKey("action"),
        ),
        (
            r#"{"action":"B","\u0061ction":"B"}"#,
            14,
            Problem::DuplicateKey("action"),
        ),
        (
            r#"{"action":"B","lsn":null,"lsn":"0/1"}"#,
            25,
            Problem::DuplicateKey("lsn"),
        ),
        (
            r#"{"action":"B","lsn":"0-1"}"#,
            20,
            expected("an LSN such as 0/15A5C70"),
        ),
        (r#"{"action":"B","xid":-1}"#, 20, xid),
        (r#"{"action":"B","xid":1.0}"#, 20, xid),
        (r#"{"action":"B","xid":4294967296}"#, 20, xid),
        (r#"{"action":"B","x":"\ud800"}"#, 19, Problem::LoneSurrogate),
    ] {
        let mut parser = Parser::new();
        let error = parser.parse(record.as_bytes()).expect_err(record);
        assert_eq!((error.offset(), error.problem()), (offset, problem), "{record}");
        oracle::check(&mut parser, record.as_bytes());
    }
}

#[test]
fn what_is_no_column_is_refused() {
    for (columns, problem) in [
        (r#"{"type":"t","value":1}"#, Problem::IncompleteColumn("name")),
        (r#"{"name":"n","value":1}"#, Problem::IncompleteColumn("type")),
        (r#"{"name":"n","type":"t"}"#, Problem::IncompleteColumn("value")),
        (
            r#"{"name":null,"type":"t","value":1}"#,
            Problem::Expected("a column's name"),
        ),
        (
            r#"{"name":"n","type":1,"value":1}"#,
            Problem::Expected("a column's type"),
        ),
        (r#"{"name":"n","name":"n"}"#, Problem::DuplicateKey("name")),
        (r#"{"name":"n","n\u0061me":"n"}"#, Problem::DuplicateKey("name")),
        ("1", Problem::Expected("the object of a column")),
        ("null", Problem::Expected("the object of a column")),
    ] {
        let record = with_columns(columns);
        let mut parser = Parser::new();
        let error = parser.parse(record.as_bytes()).expect_err(&record);
        assert_eq!(error.problem(), problem, "{record}");
        oracle::check(&mut parser, record.as_bytes());
    }
}

#[test]
fn what_an_action_needs_must_be_there() {
    for (action, letter, rest, key) in [
        (Action::Insert, "I", r#""table":"t","columns":[]"#, "schema"),
        (Action::Insert, "I", r#""schema":"s","table":"t""#, "columns"),
        (
            Action::Update,
            "U",
            r#""schema":"s","table":"t","identity":[]"#,
            "columns",
        ),
        (
            Action::Delete,
            "D",
            r#""schema":"s","table":"t","columns":[]"#,
            "identity",
        ),
        (Action::Truncate, "T", r#""schema":"s","table":null"#, "table"),
        (
            Action::Message,
            "M",
            r#""prefix":"","content":"""#,
            "transactional",
        ),
        (
            Action::Message,
            "M",
            r#""transactional":true,"content":"""#,
            "prefix",
        ),
        (
            Action::Message,
            "M",
            r#""transactional":true,"prefix":"""#,
            "content",
        ),
    ] {
        let record = format!(r#"{{"action":"{letter}",{rest}}}"#);
        let mut parser = Parser::new();
        let error = parser.parse(record.as_bytes()).expect_err(&record);
        assert_eq!(error.problem(), Problem::MissingKey { action, key }, "{record}");
        assert_eq!(error.offset(), record.len());
        oracle::check(&mut parser, record.as_bytes());
    }
}

#[test]
fn every_prefix_of_a_record_is_refused() {
    let record =
        format!(r#"{{"action":"I","xid":7,"schema":"\u00e9","table":"é","columns":[{COLUMN}],"pk":[]}}"#);
    for length in 0..record.len() {
        assert!(
            Parser::new().parse(&record.as_bytes()[..length]).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn nesting_and_columns_are_bounded() {
    let nested = |depth| with_value(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let columns = |count| with_columns(&vec![COLUMN; count].join(","));
    let mut parser = Parser::new();
    // Around the value are a record, an array and a column.
    for accepted in [nested(MAX_DEPTH - 3), columns(MAX_COLUMNS)] {
        assert!(parser.parse(accepted.as_bytes()).is_ok());
        oracle::check(&mut parser, accepted.as_bytes());
    }
    let too_deep = parser.parse(nested(MAX_DEPTH - 2).as_bytes()).unwrap_err();
    assert_eq!(too_deep.problem(), Problem::TooDeep);
    let too_many = parser.parse(columns(MAX_COLUMNS + 1).as_bytes()).unwrap_err();
    assert_eq!(too_many.problem(), Problem::TooManyColumns);
    // A million levels take no stack.
    assert!(parser.parse(nested(1_000_000).as_bytes()).is_err());
}

#[test]
fn header_stops_before_the_columns() {
    let change = br#"{"action":"I","xid":7,"lsn":"0/1","schema":"s","table":"t" and anything behind it"#;
    let head = header(change).unwrap();
    assert_eq!(
        (head.xid, head.lsn.unwrap().to_string()),
        (Some(7), "0/1".to_owned())
    );
    assert!(head.schema.unwrap().is("s") && head.table.unwrap().is("t"));
    assert!(header(br#"{"action":"C","lsn":"0/1","nextlsn":"0/2"..."#).is_ok());
    assert!(header(br#"{"action":"M","lsn":"0/1","transactional":true..."#).is_ok());
    // Without an LSN, or in another order, it has to look at all of it.
    assert!(header(br#"{"action":"I","schema":"s","table":"t" and anything"#).is_err());
    let reversed =
        br#"{"pk":[],"columns":[{"a":"}"}],"table":"t","schema":"s","lsn":"0/1","action":"I" and more"#;
    assert_eq!(header(reversed).unwrap().table.map(JsonStr::raw), Some(r#""t""#));
    for (record, key) in [
        (r#"{"action":"D","lsn":"0/1","table":"t"}"#, "schema"),
        (r#"{"action":"T","lsn":"0/1","schema":"s"}"#, "table"),
    ] {
        let error = header(record.as_bytes()).unwrap_err();
        assert!(
            matches!(error.problem(), Problem::MissingKey { key: missing, .. } if missing == key),
            "{error}"
        );
    }
    let not_utf8 = header(b"{\"action\":\"I\",\"schema\":\"a\xff\"").unwrap_err();
    assert_eq!((not_utf8.offset(), not_utf8.problem()), (25, Problem::NotUtf8));
}

/// Found by fuzzing: the header alone ended before a `schema` that the whole record had.
#[test]
fn keys_of_other_actions_are_dropped_wherever_they_stand() {
    for record in [
        r#"{"action":"M","lsn":"0/1","transactional":true,"schema":"s","prefix":"","content":""}"#,
        r#"{"schema":"s","nextlsn":"0/1","action":"M","transactional":true,"prefix":"","content":""}"#,
        r#"{"action":"T","lsn":"0/1","schema":"s","table":"t","nextlsn":"0/2","transactional":true}"#,
        r#"{"action":"C","lsn":"0/1","nextlsn":"0/2","table":"t"}"#,
    ] {
        let mut parser = Parser::new();
        assert_eq!(
            parser.parse(record.as_bytes()).unwrap().header,
            header(record.as_bytes()).unwrap()
        );
        oracle::check(&mut parser, record.as_bytes());
    }
    let wrong = br#"{"action":"C","lsn":"0/1","nextlsn":"0/2","table":1}"#;
    assert!(Parser::new().parse(wrong).is_err(), "dropped, but checked");
}

#[test]
fn an_error_says_where_and_what_but_nothing_of_the_record() {
    let error = Parser::new()
        .parse(br#"{"action":"I","schema":"secret"}"#)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"malformed wal2json record at byte 32: the key "columns" is missing, which action I needs"#
    );
}

fn with_columns(columns: &str) -> String {
    format!(r#"{{"action":"I","schema":"s","table":"tab","columns":[   {columns}]}}"#)
}

fn with_value(value: &str) -> String {
    with_columns(&format!(r#"{{"name":"n","type":"t","value":{value}}}"#))
}
