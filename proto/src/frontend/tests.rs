//! What holds for all messages of ours.

use super::*;
use crate::{PgCodec, limits};
use proptest::prelude::*;
use tokio_util::codec::Encoder as _;

/// The bytes of one message.
pub(super) fn encode(message: &FrontendMessage) -> Vec<u8> {
    let mut dst = BytesMut::new();
    PgCodec::new().encode(message.clone(), &mut dst).unwrap();
    dst.to_vec()
}

fn startup(parameters: &[(&str, &str)]) -> FrontendMessage {
    let parameters = parameters
        .iter()
        .map(|&(name, value)| (name.into(), value.into()))
        .collect();
    FrontendMessage::Startup(StartupMessage { parameters })
}

#[test]
fn a_failure_leaves_the_buffer_as_it_was() {
    let long = "x".repeat(limits::MAX_STARTUP_LEN);
    let initial = |mechanism: &str| {
        let response = Bytes::from_static(b"n,,");
        FrontendMessage::SaslInitialResponse(SaslInitialResponse {
            mechanism: mechanism.into(),
            response,
        })
    };
    for (message, expected) in [
        (
            FrontendMessage::Query("a\0b".into()),
            "Query cannot be sent: `query` contains a zero byte",
        ),
        (
            FrontendMessage::Password(PasswordMessage::new("se\0cret")),
            "PasswordMessage cannot be sent: `password` contains a zero byte",
        ),
        (
            initial("SCRAM\0"),
            "SASLInitialResponse cannot be sent: `mechanism` contains a zero byte",
        ),
        (
            startup(&[("user", "a"), ("a\0", "b")]),
            "StartupMessage cannot be sent: `name` contains a zero byte",
        ),
        (
            startup(&[("user", "a\0b")]),
            "StartupMessage cannot be sent: `value` contains a zero byte",
        ),
        (
            startup(&[("user", "a"), ("", "b")]),
            "StartupMessage cannot be sent: `name` is empty",
        ),
        (
            startup(&[("user", &long)]),
            "StartupMessage cannot be sent: its 10015 bytes are more than the limit of 10000",
        ),
    ] {
        let mut dst = BytesMut::from(&b"before"[..]);
        let error = PgCodec::new().encode(message, &mut dst).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(dst, "before");
    }
}

#[test]
fn the_longest_startup_message_is_sent() {
    let value = "x".repeat(limits::MAX_STARTUP_LEN - 15);
    assert_eq!(
        encode(&startup(&[("user", &value)])).len(),
        limits::MAX_STARTUP_LEN
    );
}

/// Reads a message back as the server does; `login` says that it waits for a password, or for SASL.
fn read_back(frame: &[u8], login: &FrontendMessage) -> FrontendMessage {
    let (tag, rest) = match frame[0] {
        0 => (0, frame),
        tag => (tag, &frame[1..]),
    };
    let (length, body) = rest.split_first_chunk().unwrap();
    assert_eq!(
        usize::try_from(u32::from_be_bytes(*length)).unwrap(),
        rest.len(),
        "the length word"
    );
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match (tag, login) {
        (0, FrontendMessage::SslRequest) => {
            assert_eq!(body, 80_877_103_u32.to_be_bytes());
            FrontendMessage::SslRequest
        }
        (0, _) => {
            let list = body
                .strip_prefix(&[0, 3, 0, 0])
                .unwrap()
                .strip_suffix(b"\0")
                .unwrap();
            let texts: Vec<_> = list.split(|&byte| byte == 0).map(string).collect();
            let pairs = texts
                .chunks_exact(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()));
            FrontendMessage::Startup(StartupMessage {
                parameters: pairs.collect(),
            })
        }
        (b'd', _) => FrontendMessage::CopyData(Bytes::copy_from_slice(body)),
        (b'c', _) => FrontendMessage::CopyDone,
        (b'X', _) => FrontendMessage::Terminate,
        (b'Q', _) => FrontendMessage::Query(string(body.strip_suffix(b"\0").unwrap())),
        (b'p', FrontendMessage::Password(_)) => {
            let password = Bytes::copy_from_slice(body.strip_suffix(b"\0").unwrap());
            FrontendMessage::Password(PasswordMessage::new(password))
        }
        (b'p', FrontendMessage::SaslResponse(_)) => {
            FrontendMessage::SaslResponse(Bytes::copy_from_slice(body))
        }
        (b'p', FrontendMessage::SaslInitialResponse(_)) => {
            let end = body.iter().position(|&byte| byte == 0).unwrap();
            let (length, response) = body[end + 1..].split_first_chunk().unwrap();
            assert_eq!(
                usize::try_from(u32::from_be_bytes(*length)).unwrap(),
                response.len()
            );
            FrontendMessage::SaslInitialResponse(SaslInitialResponse {
                mechanism: string(&body[..end]),
                response: Bytes::copy_from_slice(response),
            })
        }
        other => panic!("{other:?}"),
    }
}

fn any_message() -> impl Strategy<Value = FrontendMessage> {
    let payload = || any::<Vec<u8>>().prop_map(Bytes::from);
    let text = || "[^\0]{0,20}";
    let pairs = prop::collection::vec(("[^\0]{1,20}", text()), 0..5);
    prop_oneof![
        payload().prop_map(FrontendMessage::CopyData),
        Just(FrontendMessage::CopyDone),
        text().prop_map(|password| FrontendMessage::Password(PasswordMessage::new(password))),
        text().prop_map(FrontendMessage::Query),
        (text(), payload()).prop_map(|(mechanism, response)| {
            FrontendMessage::SaslInitialResponse(SaslInitialResponse { mechanism, response })
        }),
        payload().prop_map(FrontendMessage::SaslResponse),
        Just(FrontendMessage::SslRequest),
        pairs.prop_map(|parameters| FrontendMessage::Startup(StartupMessage { parameters })),
        Just(FrontendMessage::Terminate),
    ]
}

proptest! {
    #[test]
    fn the_server_reads_back_what_we_send(message in any_message()) {
        prop_assert_eq!(&read_back(&encode(&message), &message), &message);
    }
}
