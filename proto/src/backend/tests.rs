//! What holds for all messages of a server, and the means to make any of them.

use super::*;
use crate::codec::tests::decode_one;
use crate::{Text, limits};
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

/// A frame around `body` with a length word that fits.
pub(crate) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.put_u32(u32::try_from(body.len() + 4).unwrap());
    frame.put_slice(body);
    frame
}

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

/// Writes a message as a server does.
fn wire(message: &BackendMessage) -> Vec<u8> {
    let mut body = BytesMut::new();
    let tag = match message {
        BackendMessage::Authentication(message) => wire_authentication(message, &mut body),
        BackendMessage::BackendKeyData(message) => {
            body.put_i32(message.process_id);
            body.put_i32(message.secret_key);
            b'K'
        }
        BackendMessage::CommandComplete(message) => {
            put_text(&mut body, &message.tag);
            b'C'
        }
        BackendMessage::CopyBothResponse(message) => {
            put_formats(&mut body, message.format, &message.column_formats);
            b'W'
        }
        BackendMessage::CopyOutResponse(message) => {
            put_formats(&mut body, message.format, &message.column_formats);
            b'H'
        }
        BackendMessage::CopyData(payload) => {
            body.put_slice(payload);
            b'd'
        }
        BackendMessage::CopyDone => b'c',
        BackendMessage::EmptyQueryResponse => b'I',
        BackendMessage::DataRow(row) => {
            body.put_u16(u16::try_from(row.columns.len()).unwrap());
            for column in &row.columns {
                let length = column
                    .as_ref()
                    .map_or(-1, |value| i32::try_from(value.len()).unwrap());
                body.put_i32(length);
                body.put_slice(column.as_deref().unwrap_or_default());
            }
            b'D'
        }
        BackendMessage::ErrorResponse(fields) => put_report(&mut body, fields, b'E'),
        BackendMessage::NoticeResponse(fields) => put_report(&mut body, fields, b'N'),
        BackendMessage::NegotiateProtocolVersion(message) => {
            body.put_i32(message.newest_version);
            body.put_u32(u32::try_from(message.unknown_options.len()).unwrap());
            message
                .unknown_options
                .iter()
                .for_each(|option| put_text(&mut body, option));
            b'v'
        }
        BackendMessage::NotificationResponse(message) => {
            body.put_i32(message.process_id);
            put_text(&mut body, &message.channel);
            put_text(&mut body, &message.payload);
            b'A'
        }
        BackendMessage::ParameterStatus(message) => {
            put_text(&mut body, &message.name);
            put_text(&mut body, &message.value);
            b'S'
        }
        BackendMessage::ReadyForQuery(message) => {
            body.put_u8(match message.status {
                TransactionStatus::Idle => b'I',
                TransactionStatus::InTransaction => b'T',
                TransactionStatus::Failed => b'E',
            });
            b'Z'
        }
        BackendMessage::RowDescription(message) => {
            body.put_u16(u16::try_from(message.fields.len()).unwrap());
            message
                .fields
                .iter()
                .for_each(|field| put_field(&mut body, field));
            b'T'
        }
    };
    frame(tag, &body)
}

fn put_text(body: &mut BytesMut, text: &Text) {
    body.put_slice(text.as_bytes());
    body.put_u8(0);
}

fn put_formats(body: &mut BytesMut, format: Format, column_formats: &[Format]) {
    let code = |format| u8::from(format == Format::Binary);
    body.put_u8(code(format));
    body.put_u16(u16::try_from(column_formats.len()).unwrap());
    column_formats
        .iter()
        .for_each(|&format| body.put_u16(u16::from(code(format))));
}

fn put_report(body: &mut BytesMut, fields: &ErrorFields, tag: u8) -> u8 {
    for (kind, text) in fields.iter() {
        body.put_u8(kind);
        put_text(body, text);
    }
    body.put_u8(0);
    tag
}

fn put_field(body: &mut BytesMut, field: &FieldDescription) {
    put_text(body, &field.name);
    body.put_u32(field.table_oid);
    body.put_i16(field.column_attribute);
    body.put_u32(field.type_oid);
    body.put_i16(field.type_size);
    body.put_i32(field.type_modifier);
    body.put_u16(u16::from(field.format == Format::Binary));
}

fn wire_authentication(message: &Authentication, body: &mut BytesMut) -> u8 {
    match message {
        Authentication::Ok => body.put_u32(0),
        Authentication::CleartextPassword => body.put_u32(3),
        Authentication::MD5Password { salt } => {
            body.put_u32(5);
            body.put_slice(salt);
        }
        Authentication::Sasl { mechanisms } => {
            body.put_u32(10);
            mechanisms.iter().for_each(|name| put_text(body, name));
            body.put_u8(0);
        }
        Authentication::SaslContinue(payload) => {
            body.put_u32(11);
            body.put_slice(payload);
        }
        Authentication::SaslFinal(payload) => {
            body.put_u32(12);
            body.put_slice(payload);
        }
    }
    b'R'
}

fn any_payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_text() -> impl Strategy<Value = Text> {
    prop::collection::vec(1..=u8::MAX, 0..20).prop_map(|bytes| Text::new(bytes.into()))
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Text), Just(Format::Binary)]
}

fn any_authentication() -> impl Strategy<Value = Authentication> {
    let name = "[A-Z0-9-]{1,20}".prop_map(|name| Text::new(name.into()));
    prop_oneof![
        Just(Authentication::Ok),
        Just(Authentication::CleartextPassword),
        any::<[u8; 4]>().prop_map(|salt| Authentication::MD5Password { salt }),
        prop::collection::vec(name, 0..=limits::MAX_SASL_MECHANISMS)
            .prop_map(|mechanisms| Authentication::Sasl { mechanisms }),
        any_payload().prop_map(Authentication::SaslContinue),
        any_payload().prop_map(Authentication::SaslFinal),
    ]
}

fn any_report() -> impl Strategy<Value = ErrorFields> {
    prop::collection::vec((1..=u8::MAX, any_text()), 0..=limits::MAX_REPORT_FIELDS).prop_map(ErrorFields::new)
}

fn any_field() -> impl Strategy<Value = FieldDescription> {
    (any_text(), any::<(u32, i16, u32, i16, i32)>(), any_format()).prop_map(|(name, numbers, format)| {
        let (table_oid, column_attribute, type_oid, type_size, type_modifier) = numbers;
        FieldDescription {
            name,
            table_oid,
            column_attribute,
            type_oid,
            type_size,
            type_modifier,
            format,
        }
    })
}

/// Any message of a server.
fn any_message() -> impl Strategy<Value = BackendMessage> {
    use BackendMessage as M;
    let formats = || (any_format(), prop::collection::vec(any_format(), 0..20));
    let status = prop_oneof![
        Just(TransactionStatus::Idle),
        Just(TransactionStatus::InTransaction),
        Just(TransactionStatus::Failed),
    ];
    prop_oneof![
        any_authentication().prop_map(M::Authentication),
        any::<(i32, i32)>().prop_map(|(process_id, secret_key)| {
            M::BackendKeyData(BackendKeyData {
                process_id,
                secret_key,
            })
        }),
        any_text().prop_map(|tag| M::CommandComplete(CommandComplete { tag })),
        formats().prop_map(|(format, column_formats)| {
            M::CopyBothResponse(CopyBothResponse {
                format,
                column_formats,
            })
        }),
        any_payload().prop_map(M::CopyData),
        Just(M::CopyDone),
        formats().prop_map(|(format, column_formats)| {
            M::CopyOutResponse(CopyOutResponse {
                format,
                column_formats,
            })
        }),
        prop::collection::vec(prop::option::of(any_payload()), 0..20)
            .prop_map(|columns| M::DataRow(DataRow { columns })),
        Just(M::EmptyQueryResponse),
        any_report().prop_map(M::ErrorResponse),
        (any::<i32>(), prop::collection::vec(any_text(), 0..5)).prop_map(
            |(newest_version, unknown_options)| {
                M::NegotiateProtocolVersion(NegotiateProtocolVersion {
                    newest_version,
                    unknown_options,
                })
            }
        ),
        any_report().prop_map(M::NoticeResponse),
        (any::<i32>(), any_text(), any_text()).prop_map(|(process_id, channel, payload)| {
            M::NotificationResponse(NotificationResponse {
                process_id,
                channel,
                payload,
            })
        }),
        (any_text(), any_text())
            .prop_map(|(name, value)| M::ParameterStatus(ParameterStatus { name, value })),
        status.prop_map(|status| M::ReadyForQuery(ReadyForQuery { status })),
        prop::collection::vec(any_field(), 0..20)
            .prop_map(|fields| M::RowDescription(RowDescription { fields })),
    ]
}

/// Any messages, and the stream of bytes that says them.
pub(crate) fn any_stream() -> impl Strategy<Value = (Vec<BackendMessage>, Vec<u8>)> {
    prop::collection::vec(any_message(), 0..10).prop_map(|messages| {
        let bytes = messages.iter().flat_map(wire).collect();
        (messages, bytes)
    })
}
