//! Authentication: what the server wants to see before it lets us in.

use crate::reader::Reader;
use crate::{DecodeError, Text, limits};
use bytes::Bytes;
use std::fmt;

/// A step of the authentication. Doing what it asks is not this package's work.
///
/// `Debug` does not show what SASL messages carry.
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// AuthenticationOk: we are in.
    Ok,
    /// AuthenticationCleartextPassword: send the password as it is.
    CleartextPassword,
    /// AuthenticationMD5Password: send the password hashed with the user's name and this salt.
    MD5Password {
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// AuthenticationSASL: choose one of these mechanisms and send SASLInitialResponse.
    Sasl {
        /// The names of the mechanisms, the server's favourite first.
        mechanisms: Vec<Text>,
    },
    /// AuthenticationSASLContinue: the server's challenge.
    SaslContinue(Bytes),
    /// AuthenticationSASLFinal: the server's proof that it knows the password too.
    SaslFinal(Bytes),
}

impl Authentication {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        match body.i32("kind")? {
            0 => Ok(Self::Ok),
            3 => Ok(Self::CleartextPassword),
            5 => Ok(Self::MD5Password {
                salt: body.array("salt")?,
            }),
            10 => Ok(Self::Sasl {
                mechanisms: mechanisms(body)?,
            }),
            11 => Ok(Self::SaslContinue(body.take_rest())),
            12 => Ok(Self::SaslFinal(body.take_rest())),
            2 => Err(DecodeError::UnsupportedAuthentication {
                method: "Kerberos V5",
            }),
            6 => Err(DecodeError::UnsupportedAuthentication {
                method: "SCM credential",
            }),
            7 | 8 => Err(DecodeError::UnsupportedAuthentication { method: "GSSAPI" }),
            9 => Err(DecodeError::UnsupportedAuthentication { method: "SSPI" }),
            kind => Err(DecodeError::UnknownAuthentication { kind }),
        }
    }
}

/// Names up to an empty one.
fn mechanisms(body: &mut Reader) -> Result<Vec<Text>, DecodeError> {
    let mut names = Vec::new();
    loop {
        let name = body.text("mechanisms")?;
        if name.as_bytes().is_empty() {
            return Ok(names);
        }
        if names.len() == limits::MAX_SASL_MECHANISMS {
            return Err(body.too_many("mechanisms", limits::MAX_SASL_MECHANISMS));
        }
        names.push(name);
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("AuthenticationOk"),
            Self::CleartextPassword => f.write_str("AuthenticationCleartextPassword"),
            Self::MD5Password { .. } => f.write_str("AuthenticationMD5Password"),
            Self::Sasl { mechanisms } => f
                .debug_struct("AuthenticationSASL")
                .field("mechanisms", mechanisms)
                .finish(),
            Self::SaslContinue(payload) => write!(f, "AuthenticationSASLContinue({} bytes)", payload.len()),
            Self::SaslFinal(payload) => write!(f, "AuthenticationSASLFinal({} bytes)", payload.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    fn decode(frame: &[u8]) -> Authentication {
        match decode_one(frame) {
            Ok(BackendMessage::Authentication(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn literal_bytes() {
        let frame = b"R\0\0\0\x08\0\0\0\0";
        assert_eq!(decode(frame), Authentication::Ok);

        let frame = b"R\0\0\0\x08\0\0\0\x03";
        assert_eq!(decode(frame), Authentication::CleartextPassword);

        let frame = b"R\0\0\0\x0c\0\0\0\x05\x60\xae\xdc\x60";
        assert_eq!(
            decode(frame),
            Authentication::MD5Password {
                salt: [0x60, 0xae, 0xdc, 0x60]
            }
        );

        let frame = b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0";
        assert_eq!(
            decode(frame),
            Authentication::Sasl {
                mechanisms: vec!["SCRAM-SHA-256".into()]
            }
        );

        let frame = b"R\0\0\0\x2a\0\0\0\nSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let mechanisms = vec!["SCRAM-SHA-256-PLUS".into(), "SCRAM-SHA-256".into()];
        assert_eq!(decode(frame), Authentication::Sasl { mechanisms });

        let frame = b"R\0\0\0\x58\0\0\0\x0br=rOprNGfwEbeRWgbNEkqOEbrN0jadRIWj3eaK5sLHoa+t,\
            s=kfHBsO44pHnPzJ69scxLAA==,i=4096";
        let challenge = b"r=rOprNGfwEbeRWgbNEkqOEbrN0jadRIWj3eaK5sLHoa+t,s=kfHBsO44pHnPzJ69scxLAA==,i=4096";
        assert_eq!(
            decode(frame),
            Authentication::SaslContinue(Bytes::from_static(challenge))
        );

        let frame = b"R\0\0\0\x36\0\0\0\x0cv=LLKCqor3outpLe1eU9KQ5eZTFd6L4DZitBcopdFYH6Q=";
        let proof = b"v=LLKCqor3outpLe1eU9KQ5eZTFd6L4DZitBcopdFYH6Q=";
        assert_eq!(
            decode(frame),
            Authentication::SaslFinal(Bytes::from_static(proof))
        );
    }

    #[test]
    fn names_what_is_not_supported() {
        for (frame, name) in [
            (&b"R\0\0\0\x08\0\0\0\x02"[..], "Kerberos V5"),
            (b"R\0\0\0\x08\0\0\0\x06", "SCM credential"),
            (b"R\0\0\0\x08\0\0\0\x07", "GSSAPI"),
            (b"R\0\0\0\x0a\0\0\0\x08ab", "GSSAPI"),
            (b"R\0\0\0\x08\0\0\0\x09", "SSPI"),
            (b"R\0\0\0\x08\0\0\0\x0d", "unknown kind of authentication (13)"),
        ] {
            let error = decode_one(frame).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(!error.is_io());
        }
    }

    #[test]
    fn debug_hides_sasl_payloads() {
        for message in [
            Authentication::SaslContinue(Bytes::from_static(b"secret")),
            Authentication::SaslFinal(Bytes::from_static(b"secret")),
        ] {
            let shown = format!("{:?}", BackendMessage::Authentication(message));
            assert!(shown.ends_with("(6 bytes)"), "{shown}");
        }
    }
}
