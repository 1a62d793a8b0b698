//! Authentication: trust, cleartext, MD5, SCRAM-SHA-256.
//!
//! Channel binding comes with TLS. The SCRAM exchange itself is `postgres-protocol`'s.

use bytes::Bytes;
use pgstream_proto::backend::Authentication;
use pgstream_proto::frontend::{PasswordMessage, SaslInitialResponse};
use pgstream_proto::{FrontendMessage, Text};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::ReplicationError;
use super::connection::Connection;
use crate::config::{PgUrl, Secret};

/// Does what the server asks for until it lets us in.
pub(super) async fn authenticate(connection: &mut Connection, url: &PgUrl) -> Result<(), ReplicationError> {
    match connection.receive_authentication().await? {
        Authentication::Ok => return Ok(()),
        Authentication::CleartextPassword => {
            let password = Bytes::copy_from_slice(password(url)?.as_bytes());
            connection
                .send(FrontendMessage::Password(PasswordMessage::new(password)))
                .await?;
        }
        Authentication::MD5Password { salt } => {
            let hash = md5_hash(url.user.as_bytes(), password(url)?.as_bytes(), salt);
            connection
                .send(FrontendMessage::Password(PasswordMessage::new(hash)))
                .await?;
        }
        Authentication::Sasl { mechanisms } => scram(connection, &mechanisms, password(url)?).await?,
        Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => return Err(out_of_turn()),
    }
    expect(connection, |step| {
        matches!(step, Authentication::Ok).then_some(())
    })
    .await
}

async fn scram(
    connection: &mut Connection,
    mechanisms: &[Text],
    password: &str,
) -> Result<(), ReplicationError> {
    if !mechanisms
        .iter()
        .any(|mechanism| mechanism.as_bytes() == SCRAM_SHA_256.as_bytes())
    {
        let offered: Vec<_> = mechanisms.iter().map(Text::to_string_lossy).collect();
        return Err(ReplicationError::NoMechanism {
            offered: offered.join(", "),
        });
    }
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    let first = SaslInitialResponse {
        mechanism: SCRAM_SHA_256.to_owned(),
        response: Bytes::copy_from_slice(scram.message()),
    };
    connection
        .send(FrontendMessage::SaslInitialResponse(first))
        .await?;
    let challenge = expect(connection, |step| match step {
        Authentication::SaslContinue(challenge) => Some(challenge),
        _ => None,
    });
    scram.update(&challenge.await?).map_err(ReplicationError::Scram)?;
    let answer = Bytes::copy_from_slice(scram.message());
    connection.send(FrontendMessage::SaslResponse(answer)).await?;
    let proof = expect(connection, |step| match step {
        Authentication::SaslFinal(proof) => Some(proof),
        _ => None,
    });
    scram.finish(&proof.await?).map_err(ReplicationError::Scram)
}

/// The next step, which must be the one that `wanted` picks.
async fn expect<T>(
    connection: &mut Connection,
    wanted: impl FnOnce(Authentication) -> Option<T>,
) -> Result<T, ReplicationError> {
    wanted(connection.receive_authentication().await?).ok_or_else(out_of_turn)
}

fn password(url: &PgUrl) -> Result<&str, ReplicationError> {
    let password = url.password.as_ref().map(Secret::expose);
    password.ok_or_else(|| ReplicationError::NoPassword {
        user: url.user.clone(),
    })
}

fn out_of_turn() -> ReplicationError {
    ReplicationError::Unexpected {
        message: "a step of the authentication",
        expected: "another one",
    }
}
