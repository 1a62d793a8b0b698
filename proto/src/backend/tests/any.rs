//! Any message of a server, and the bytes that say it.

use crate::backend::*;
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
