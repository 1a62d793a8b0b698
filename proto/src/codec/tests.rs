//! Framing, at the edges and at every split.

use super::*;
use crate::backend::tests::any::{any_stream, frame};
use bytes::Bytes;
use proptest::prelude::*;

/// Decodes a buffer that holds one whole message.
pub(crate) fn decode_one(frame: &[u8]) -> Result<BackendMessage, DecodeError> {
    let mut src = BytesMut::from(frame);
    let message = PgCodec::new().decode(&mut src)?.expect("the frame is complete");
    assert!(src.is_empty(), "{} bytes are left", src.len());
    Ok(message)
}

/// Feeds a stream in pieces of the given sizes, again and again, and decodes all that can be decoded after each.
fn decode_in_pieces(stream: &[u8], sizes: &[usize]) -> (Vec<BackendMessage>, Option<String>) {
    let mut codec = PgCodec::new();
    let (mut src, mut messages, mut rest) = (BytesMut::new(), Vec::new(), stream);
    for &size in sizes.iter().cycle() {
        let (piece, later) = rest.split_at(size.clamp(1, rest.len().max(1)).min(rest.len()));
        src.extend_from_slice(piece);
        rest = later;
        loop {
            let decoded = if rest.is_empty() {
                codec.decode_eof(&mut src)
            } else {
                codec.decode(&mut src)
            };
            match decoded {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
        if rest.is_empty() {
            return (messages, None);
        }
    }
    (messages, None)
}

#[test]
fn incomplete_input_needs_more() {
    let whole = frame(b'S', b"client_encoding\0UTF8\0");
    for end in 0..whole.len() {
        let mut src = BytesMut::from(&whole[..end]);
        assert_eq!(PgCodec::new().decode(&mut src).unwrap(), None, "{end} bytes");
        assert_eq!(src, whole[..end], "what is there stays there");
    }
}

#[test]
fn payloads_are_slices_of_the_read_buffer() {
    let stream = [
        frame(b'd', b"first payload"),
        frame(b'D', b"\0\x01\0\0\0\x05value"),
        frame(b'C', b"tag\0"),
    ];
    let mut src = BytesMut::from(&stream.concat()[..]);
    let buffer = src.as_ptr_range();
    let within = |slice: &[u8]| {
        let range = slice.as_ptr_range();
        assert!(buffer.start <= range.start && range.end <= buffer.end, "a copy");
    };
    let mut codec = PgCodec::new();
    while let Some(message) = codec.decode(&mut src).unwrap() {
        match message {
            BackendMessage::CopyData(payload) => within(&payload),
            BackendMessage::DataRow(row) => within(row.get(0).unwrap()),
            BackendMessage::CommandComplete(message) => within(message.tag.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lying_length_allocates_nothing() {
    let mut src = BytesMut::from(&b"d\x3f\xff\xff\xffonly this"[..]);
    assert_eq!(PgCodec::new().decode(&mut src).unwrap(), None);
    assert!(
        src.capacity() <= 2 * (src.len() + limits::READ_CHUNK),
        "{}",
        src.capacity()
    );
}

#[test]
fn room_is_made_for_what_is_missing() {
    let mut src = BytesMut::from(&b"d\0\0\x01\x04"[..]);
    assert_eq!(PgCodec::new().decode(&mut src).unwrap(), None);
    assert!(src.capacity() >= 261, "{}", src.capacity());
}

#[test]
fn lengths_are_checked_before_the_body_arrives() {
    for (header, expected) in [
        (
            &b"d\0\0\0\x03"[..],
            "CopyData declares an impossible length of 3 bytes",
        ),
        (
            b"d\x80\0\0\0",
            "CopyData declares an impossible length of -2147483648 bytes",
        ),
        (
            b"d\x40\0\0\x01",
            "CopyData declares 1073741825 bytes, more than the limit of 1073741824",
        ),
        (
            b"D\x40\0\0\x01",
            "DataRow declares 1073741825 bytes, more than the limit of 1073741824",
        ),
        (
            b"R\0\x01\0\x01",
            "Authentication declares 65537 bytes, more than the limit of 65536",
        ),
        (
            b"E\0\x10\0\x01",
            "ErrorResponse declares 1048577 bytes, more than the limit of 1048576",
        ),
        (
            b"T\0\x04\0\x01",
            "RowDescription declares 262145 bytes, more than the limit of 262144",
        ),
        (
            b"Z\0\x01\0\x01",
            "ReadyForQuery declares 65537 bytes, more than the limit of 65536",
        ),
        (
            b"!\0\0\0\x04",
            "unknown message with tag '!' (0x21) from the server",
        ),
        (
            b"\0\0\0\0\x04",
            "unknown message with tag '\\0' (0x00) from the server",
        ),
    ] {
        let error = PgCodec::new().decode(&mut BytesMut::from(header)).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_io());
    }
}

#[test]
fn the_bound_on_rows_and_records_can_be_lowered() {
    let mut codec = PgCodec::new().with_max_message_len(8);
    let mut src = BytesMut::from(&frame(b'd', b"1234")[..]);
    assert_eq!(
        codec.decode(&mut src).unwrap(),
        Some(BackendMessage::CopyData(Bytes::from_static(b"1234")))
    );
    let mut src = BytesMut::from(&frame(b'd', b"12345")[..]);
    let error = codec.decode(&mut src).unwrap_err();
    assert_eq!(
        error.to_string(),
        "CopyData declares 9 bytes, more than the limit of 8"
    );
    let mut src = BytesMut::from(&frame(b'C', b"START_REPLICATION\0")[..]);
    assert!(
        codec.decode(&mut src).unwrap().is_some(),
        "other messages have their own bounds"
    );
}

#[test]
fn an_end_within_a_message_is_an_error_of_the_connection() {
    let mut src = BytesMut::from(&b"Z\0\0\0\x05"[..]);
    let error = PgCodec::new().decode_eof(&mut src).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server closed the connection within a message, after 5 of its bytes"
    );
    assert!(error.is_io());
    assert_eq!(PgCodec::new().decode_eof(&mut BytesMut::new()).unwrap(), None);
}

#[test]
fn the_decoder_goes_on_after_a_malformed_body() {
    let mut src = BytesMut::from(&[frame(b'Z', b"X"), frame(b'Z', b"I")].concat()[..]);
    let mut codec = PgCodec::new();
    assert!(codec.decode(&mut src).is_err());
    assert_eq!(codec.decode(&mut src).unwrap().unwrap().name(), "ReadyForQuery");
}

#[test]
fn a_replication_session_as_captured() {
    let stream = include_bytes!("../../../fuzz/seeds/codec_chunked/replication");
    let (messages, error) = decode_in_pieces(stream, &[7]);
    assert_eq!(error, None);
    let names: Vec<_> = messages.iter().map(BackendMessage::name).collect();
    let start = names.iter().position(|&name| name == "CopyBothResponse").unwrap();
    let records = messages[start..].iter().filter_map(|message| match message {
        BackendMessage::CopyData(payload) => Some(payload.clone()),
        _ => None,
    });
    let decoded: Result<Vec<_>, _> = records
        .map(crate::replication::ReplicationMessage::decode)
        .collect();
    assert_eq!(decoded.unwrap().len(), 12);
    assert!(
        names[start..].contains(&"NoticeResponse"),
        "wal2json's warning comes inside the stream"
    );
    let end = [
        "CopyDone",
        "CopyData",
        "CommandComplete",
        "CommandComplete",
        "ReadyForQuery",
    ];
    assert!(names.ends_with(&end), "a keepalive follows CopyDone: {names:?}");
}

proptest! {
    #[test]
    fn any_split_gives_the_same_messages(
        (messages, stream) in any_stream(),
        sizes in prop::collection::vec(1..60_usize, 1..20),
    ) {
        prop_assert_eq!(&decode_in_pieces(&stream, &[usize::MAX]), &(messages.clone(), None));
        prop_assert_eq!(&decode_in_pieces(&stream, &sizes), &(messages.clone(), None));
        prop_assert_eq!(&decode_in_pieces(&stream, &[1]), &(messages, None));
    }

    #[test]
    fn any_split_of_damaged_input_gives_the_same_error(
        (_, mut stream) in any_stream(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sizes in prop::collection::vec(1..60_usize, 1..20),
    ) {
        for (index, byte) in damage.into_iter().filter(|_| !stream.is_empty()).collect::<Vec<_>>() {
            let index = index.index(stream.len());
            stream[index] = byte;
        }
        prop_assert_eq!(decode_in_pieces(&stream, &[usize::MAX]), decode_in_pieces(&stream, &sizes));
    }
}
