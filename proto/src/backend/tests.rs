//! What holds for all messages of a server.

pub(crate) mod any;

use super::*;
use crate::codec::tests::decode_one;
use crate::limits;
use any::frame;

/// One valid body of each message whose end is part of its shape.
const CLOSED_BODIES: [(u8, &str, &[u8]); 18] = [
    (b'R', "Authentication", b"\0\0\0\0"),
    (b'R', "Authentication", b"\0\0\0\x05salt"),
    (b'R', "Authentication", b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
    (b'K', "BackendKeyData", b"\0\0\0\x01\0\0\0\x02"),
    (b'C', "CommandComplete", b"SELECT 1\0"),
    (b'W', "CopyBothResponse", b"\0\0\x01\0\0"),
    (b'c', "CopyDone", b""),
    (b'H', "CopyOutResponse", b"\0\0\x01\0\0"),
    (b'D', "DataRow", b"\0\x02\0\0\0\x011\xff\xff\xff\xff"),
    (b'I', "EmptyQueryResponse", b""),
    (b'E', "ErrorResponse", b"SERROR\0C42704\0\0"),
    (b'v', "NegotiateProtocolVersion", b"\0\x03\0\0\0\0\0\x01_pq_.a\0"),
    (b'N', "NoticeResponse", b"SNOTICE\0C00000\0\0"),
    (b'A', "NotificationResponse", b"\0\0\0\x01room\0hello\0"),
    (b'S', "ParameterStatus", b"client_encoding\0UTF8\0"),
    (b'Z', "ReadyForQuery", b"I"),
    (
        b'T',
        "RowDescription",
        b"\0\x01id\0\0\0\x40\x03\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
    ),
    (b'T', "RowDescription", b"\0\0"),
];

#[test]
fn every_short_body_is_an_error_that_names_the_message() {
    for (tag, name, body) in CLOSED_BODIES {
        assert_eq!(decode_one(&frame(tag, body)).unwrap().name(), name);
        for end in 0..body.len() {
            let error = decode_one(&frame(tag, &body[..end])).unwrap_err();
            assert!(
                matches!(error, DecodeError::TooShort { message, .. } | DecodeError::Unterminated { message, .. }
                    if message == name),
                "{name} cut to {end} bytes: {error}"
            );
        }
    }
}

#[test]
fn every_overlong_body_is_an_error_that_names_the_message() {
    for (tag, name, body) in CLOSED_BODIES {
        for extra in [&b"\0"[..], b"extra\0"] {
            let error = decode_one(&frame(tag, &[body, extra].concat())).unwrap_err();
            assert!(
                matches!(error, DecodeError::TrailingBytes { message, count }
                    if message == name && count == extra.len()),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn open_bodies_may_be_empty() {
    let empty = Bytes::new();
    for (bytes, expected) in [
        (frame(b'd', b""), BackendMessage::CopyData(empty.clone())),
        (
            frame(b'R', b"\0\0\0\x0b"),
            BackendMessage::Authentication(Authentication::SaslContinue(empty.clone())),
        ),
        (
            frame(b'R', b"\0\0\0\x0c"),
            BackendMessage::Authentication(Authentication::SaslFinal(empty)),
        ),
    ] {
        assert_eq!(decode_one(&bytes).unwrap(), expected);
    }
}

#[test]
fn undefined_values_are_errors_that_name_message_and_field() {
    let reports = [b"Ma\0".repeat(limits::MAX_REPORT_FIELDS + 1), b"\0".to_vec()].concat();
    let mechanisms = [
        b"\0\0\0\x0a".to_vec(),
        b"a\0".repeat(limits::MAX_SASL_MECHANISMS + 1),
    ]
    .concat();
    for (tag, body, expected) in [
        (
            b'Z',
            &b"X"[..],
            "ReadyForQuery is malformed: `status` cannot be 88",
        ),
        (
            b'W',
            b"\x02\0\0",
            "CopyBothResponse is malformed: `format` cannot be 2",
        ),
        (
            b'H',
            b"\0\0\x01\0\x07",
            "CopyOutResponse is malformed: `column_formats` cannot be 7",
        ),
        (
            b'H',
            b"\0\xff\xff",
            "CopyOutResponse is malformed: `column_formats` cannot be -1",
        ),
        (
            b'H',
            b"\0\x7f\xff",
            "CopyOutResponse has more than 1664 `column_formats`",
        ),
        (b'T', b"\x06\x81", "RowDescription has more than 1664 `fields`"),
        (
            b'D',
            b"\x80\0",
            "DataRow is malformed: `columns` cannot be -32768",
        ),
        (
            b'D',
            b"\0\x01\xff\xff\xff\xfe",
            "DataRow is malformed: `length` cannot be -2",
        ),
        (
            b'D',
            b"\0\x01\x7f\xff\xff\xff1",
            "DataRow is too short: it ends within `value`",
        ),
        (
            b'v',
            b"\0\x03\0\0\0\0\x01\x01",
            "NegotiateProtocolVersion has more than 256 `unknown_options`",
        ),
        (b'E', &reports, "ErrorResponse has more than 64 `fields`"),
        (b'R', &mechanisms, "Authentication has more than 16 `mechanisms`"),
        (
            b'C',
            b"SELECT 1",
            "CommandComplete is malformed: `tag` is not terminated",
        ),
    ] {
        let error = decode_one(&frame(tag, body)).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_io());
    }
}

#[test]
fn debug_shows_lengths_instead_of_payloads() {
    for (bytes, expected) in [
        (frame(b'd', b"secret"), "CopyData(6 bytes)"),
        (frame(b'D', b"\0\x01\0\0\0\x06secret"), "DataRow(1 columns)"),
        (frame(b'c', b""), "CopyDone"),
        (frame(b'E', b"C42704\0\0"), "ErrorResponse({'C': \"42704\"})"),
    ] {
        assert_eq!(format!("{:?}", decode_one(&bytes).unwrap()), expected);
    }
}
