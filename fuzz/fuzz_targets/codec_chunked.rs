//! Any split of any bytes gives the same messages and the same error, in bounded memory, and nothing panics.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pgstream_proto::replication::ReplicationMessage;
use pgstream_proto::{BackendMessage, PgCodec, limits};
use tokio_util::codec::Decoder;

/// Small enough that the fuzzer finds the other side of it.
const MAX_MESSAGE_LEN: usize = 300;

fuzz_target!(|stream: &[u8]| {
    let whole = decode(stream, || usize::MAX);
    assert_eq!(whole, decode(stream, || 1), "byte by byte");
    let mut sizes = Sizes::of(stream);
    assert_eq!(whole, decode(stream, || sizes.next()), "in pieces");
    whole.0.iter().for_each(look_inside);
});

/// Feeds the stream in pieces of the sizes that `size` gives, and decodes all that can be decoded after each.
fn decode(stream: &[u8], mut size: impl FnMut() -> usize) -> (Vec<BackendMessage>, Option<String>) {
    let mut codec = PgCodec::new().with_max_message_len(MAX_MESSAGE_LEN);
    let mut messages = Vec::new();
    let mut src = BytesMut::new();
    let mut rest = stream;
    loop {
        let (piece, later) = rest.split_at(size().min(rest.len()));
        src.extend_from_slice(piece);
        rest = later;
        loop {
            let decoded = if rest.is_empty() {
                codec.decode_eof(&mut src)
            } else {
                codec.decode(&mut src)
            };
            let bound = 2 * (stream.len() + limits::READ_CHUNK);
            assert!(
                src.capacity() <= bound,
                "{} bytes of room, at most {bound} wanted",
                src.capacity()
            );
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
}

/// Reads what a session would read of a message.
fn look_inside(message: &BackendMessage) {
    let shown = format!("{message:?}");
    assert!(shown.starts_with(message.name()), "{shown}");
    match message {
        BackendMessage::CopyData(payload) => {
            if let Ok(ReplicationMessage::XLogData(data)) = ReplicationMessage::decode(payload.clone()) {
                assert_eq!(data.payload, payload[25..]);
            }
        }
        BackendMessage::ErrorResponse(fields) | BackendMessage::NoticeResponse(fields) => {
            assert!(fields.iter().count() <= limits::MAX_REPORT_FIELDS);
            let _ = (
                fields.to_string(),
                fields.severity().map(|text| text.to_str().is_ok()),
            );
        }
        _ => {}
    }
}

/// Sizes of pieces between 1 and 32 bytes, the same for the same stream: a xorshift generator seeded by its hash.
struct Sizes(u64);

impl Sizes {
    fn of(stream: &[u8]) -> Self {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Sizes(stream.iter().fold(0xcbf2_9ce4_8422_2325, fnv) | 1)
    }

    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        1 + (self.0 % 32) as usize
    }
}
