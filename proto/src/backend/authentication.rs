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
