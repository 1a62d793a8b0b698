//! Authentication: trust, cleartext, MD5, SCRAM-SHA-256, and SCRAM-SHA-256-PLUS, which binds it to the server's certificate.
//!
//! Protocol: [SASL Authentication](https://www.postgresql.org/docs/current/sasl-authentication.html). The SCRAM exchange itself
//! is `postgres-protocol`'s.

use bytes::Bytes;
use pgstream_proto::backend::Authentication;
use pgstream_proto::frontend::{PasswordMessage, SaslInitialResponse};
use pgstream_proto::{FrontendMessage, Text};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};

use super::ConnectError;
use super::exchange::Exchange;
use super::transport::Channel;
use crate::config::{ChannelBinding, Secret};

/// Who we are, and what is known of who asks.
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    pub(super) password: Option<&'a Secret>,
    pub(super) channel: &'a Channel,
    pub(super) channel_binding: ChannelBinding,
}

/// Does what the server asks for until it lets us in.
///
/// Where channel binding is required, nothing that is not bound is answered: neither a password is sent nor its hash, and a
/// server that asks for nothing is not believed to be the right one.
pub(super) async fn authenticate(
    exchange: &mut Exchange,
    credentials: &Credentials<'_>,
) -> Result<(), ConnectError> {
    match exchange.receive_authentication().await? {
        Authentication::Ok => return credentials.may_be_unbound("no password was asked for"),
        Authentication::CleartextPassword => {
            credentials.may_be_unbound("the password itself was asked for")?;
            let password = Bytes::copy_from_slice(credentials.password()?.as_bytes());
            exchange
                .send(FrontendMessage::Password(PasswordMessage::new(password)))
                .await?;
        }
        Authentication::MD5Password { salt } => {
            credentials.may_be_unbound("an MD5 hash of the password was asked for")?;
            let hash = md5_hash(
                credentials.user.as_bytes(),
                credentials.password()?.as_bytes(),
                salt,
            );
            exchange
                .send(FrontendMessage::Password(PasswordMessage::new(hash)))
                .await?;
        }
        Authentication::Sasl { mechanisms } => scram(exchange, &mechanisms, credentials).await?,
        Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => return Err(out_of_turn()),
    }
    expect(exchange, |step| matches!(step, Authentication::Ok).then_some(())).await
}

/// Chooses the mechanism, and what the proof is bound to.
///
/// Channel binding is used wherever both sides can. Where only we can, we say so within what is proved (`y`): if somebody in
/// between has taken the server's offer away, the server notices.
fn mechanism(
    mechanisms: &[Text],
    credentials: &Credentials<'_>,
) -> Result<(&'static str, Binding), ConnectError> {
    let offers = |wanted: &str| {
        mechanisms
            .iter()
            .any(|mechanism| mechanism.as_bytes() == wanted.as_bytes())
    };
    let (plain, plus) = (offers(SCRAM_SHA_256), offers(SCRAM_SHA_256_PLUS));
    let can_bind = match credentials.channel {
        Channel::Tls { end_point } if credentials.channel_binding != ChannelBinding::Disable => {
            end_point.as_ref()
        }
        Channel::Tls { .. } | Channel::Plain => None,
    };
    if plus && *credentials.channel == Channel::Plain {
        return Err(ConnectError::PlusWithoutTls);
    }
    match can_bind {
        Some(end_point) if plus => {
            return Ok((
                SCRAM_SHA_256_PLUS,
                Binding::tls_server_end_point(end_point.clone()),
            ));
        }
        Some(_) => credentials.may_be_unbound("it does not offer SCRAM-SHA-256-PLUS")?,
        None if *credentials.channel == Channel::Plain => {
            credentials.may_be_unbound("the connection is not encrypted")?;
        }
        None => {
            credentials.may_be_unbound(
                "its certificate is signed in a way that channel binding is not defined for",
            )?;
        }
    }
    if !plain {
        let offered: Vec<_> = mechanisms.iter().map(Text::to_string_lossy).collect();
        return Err(ConnectError::NoMechanism {
            offered: offered.join(", "),
        });
    }
    let binding = match can_bind {
        Some(_) => Binding::unrequested(),
        None => Binding::unsupported(),
    };
    Ok((SCRAM_SHA_256, binding))
}

async fn scram(
    exchange: &mut Exchange,
    mechanisms: &[Text],
    credentials: &Credentials<'_>,
) -> Result<(), ConnectError> {
    let (mechanism, binding) = mechanism(mechanisms, credentials)?;
    let mut scram = ScramSha256::new(credentials.password()?.as_bytes(), binding);
    let first = SaslInitialResponse {
        mechanism: mechanism.to_owned(),
        response: Bytes::copy_from_slice(scram.message()),
    };
    exchange.send(FrontendMessage::SaslInitialResponse(first)).await?;
    let challenge = expect(exchange, |step| match step {
        Authentication::SaslContinue(challenge) => Some(challenge),
        _ => None,
    });
    scram.update(&challenge.await?).map_err(ConnectError::Scram)?;
    let answer = Bytes::copy_from_slice(scram.message());
    exchange.send(FrontendMessage::SaslResponse(answer)).await?;
    let proof = expect(exchange, |step| match step {
        Authentication::SaslFinal(proof) => Some(proof),
        _ => None,
    });
    scram.finish(&proof.await?).map_err(ConnectError::Scram)
}

/// The next step, which must be the one that `wanted` picks.
async fn expect<T>(
    exchange: &mut Exchange,
    wanted: impl FnOnce(Authentication) -> Option<T>,
) -> Result<T, ConnectError> {
    wanted(exchange.receive_authentication().await?).ok_or_else(out_of_turn)
}

impl Credentials<'_> {
    fn password(&self) -> Result<&str, ConnectError> {
        let password = self.password.map(Secret::expose);
        password.ok_or_else(|| ConnectError::NoPassword {
            user: self.user.to_owned(),
        })
    }

    /// Refuses to go on without channel binding where that is required.
    fn may_be_unbound(&self, problem: &'static str) -> Result<(), ConnectError> {
        match self.channel_binding {
            ChannelBinding::Require => Err(ConnectError::NoChannelBinding { problem }),
            ChannelBinding::Disable | ChannelBinding::Prefer => Ok(()),
        }
    }
}

fn out_of_turn() -> ConnectError {
    ConnectError::Unexpected {
        message: "a step of the authentication",
        expected: "another one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_binding_is_used_where_both_can_and_never_given_up_silently() {
        use ChannelBinding::{Disable, Prefer, Require};
        let plain = Channel::Plain;
        let tls = Channel::Tls {
            end_point: Some(vec![7; 32]),
        };
        let ed25519 = Channel::Tls { end_point: None };
        let both: &[&str] = &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
        let without: &[&str] = &[SCRAM_SHA_256];
        // How the client's first message begins: what it is bound to, or that it is not.
        let cases = [
            (&tls, Prefer, both, Ok("p=tls-server-end-point,,")),
            (&tls, Require, both, Ok("p=tls-server-end-point,,")),
            (&tls, Disable, both, Ok("n,,")),
            (&tls, Prefer, without, Ok("y,,")),
            (&tls, Disable, without, Ok("n,,")),
            (&tls, Require, without, Err("does not offer SCRAM-SHA-256-PLUS")),
            (&ed25519, Prefer, both, Ok("n,,")),
            (&ed25519, Require, both, Err("not defined")),
            (&plain, Prefer, without, Ok("n,,")),
            (&plain, Require, without, Err("not encrypted")),
            (&plain, Prefer, both, Err("SCRAM-SHA-256-PLUS")),
        ];
        for (channel, channel_binding, offered, expected) in cases {
            let credentials = Credentials {
                user: "ada",
                password: None,
                channel,
                channel_binding,
            };
            let mechanisms: Vec<Text> = offered.iter().map(|name| Text::from(*name)).collect();
            let case = format!("{channel:?} {channel_binding} {offered:?}");
            match (mechanism(&mechanisms, &credentials), expected) {
                (Ok((name, binding)), Ok(expected)) => {
                    let first = ScramSha256::new(b"", binding).message().to_vec();
                    assert!(first.starts_with(expected.as_bytes()), "{case}");
                    assert_eq!(name == SCRAM_SHA_256_PLUS, expected.starts_with('p'), "{case}");
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{case}: {error}");
                }
                (Ok(_), Err(_)) => panic!("{case}: was accepted"),
                (Err(error), Ok(_)) => panic!("{case}: {error}"),
            }
        }
    }
}
