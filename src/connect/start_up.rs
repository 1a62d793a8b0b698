//! The first messages of a session.
//!
//! Protocol: [Start-up](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP).

use futures_util::SinkExt;
use pgstream_proto::backend::{BackendKeyData, ParameterStatus};
use pgstream_proto::frontend::StartupMessage;
use pgstream_proto::{BackendMessage, DecodeError, EncodeError, FrontendMessage, PgCodec, limits};
use tokio_util::codec::Framed;

use super::ConnectError;
use super::address::Address;
use super::authenticate::{Credentials, authenticate};
use super::exchange::Exchange;
use super::negotiate::refusal_of_certificate;
use super::transport::{self, Channel, Socket, Transport};
use crate::config::{Encryption, PgUrl, Server, TargetSessionAttrs};

/// How many parameters a server may tell. PostgreSQL 18 tells 15.
const MAX_PARAMETERS: usize = 100;

/// A session that waits for commands.
#[derive(Debug)]
pub struct Opened {
    /// Its messages.
    pub framed: Framed<Socket, PgCodec>,
    /// The server that was chosen: host and port, and the address where the host is a name.
    pub server: String,
    /// Whether TLS protects it.
    pub is_encrypted: bool,
    /// What the server says of itself.
    pub parameters: Vec<ParameterStatus>,
    /// What a cancel request would need.
    pub key: Option<BackendKeyData>,
}

impl Opened {
    /// Ends it. A farewell that fails changes nothing: the connection ends all the same.
    pub async fn close(mut self) {
        let _ = self.framed.send(FrontendMessage::Terminate).await;
        let _ = self.framed.close().await;
    }
}

/// Opens a session at one address.
pub(super) async fn start_up(
    url: &PgUrl,
    (server, address): (&Server, &Address),
    encryption: Encryption,
    message: &StartupMessage,
    attrs: TargetSessionAttrs,
) -> Result<Opened, ConnectError> {
    let Transport { socket, channel } = transport::open(address, server, url, encryption).await?;
    let mut exchange = Exchange {
        framed: Framed::with_capacity(socket, PgCodec::new(), limits::READ_CHUNK),
        address: address.to_string(),
        is_encrypted: channel != Channel::Plain,
    };
    let credentials = Credentials {
        user: &url.user,
        password: server.password.as_ref(),
        channel: &channel,
        channel_binding: url.tls.channel_binding,
    };
    let opened = match enter(&mut exchange, message, &credentials).await {
        // It has hung up already, and may have said why.
        Err(ConnectError::Encode(EncodeError::Io(error))) => Err(last_words(&mut exchange)
            .await
            .unwrap_or(EncodeError::Io(error).into())),
        outcome => outcome,
    };
    let (parameters, key) = opened.map_err(|error| match error {
        // In TLS 1.3 the server judges our certificate when the handshake is over for us.
        ConnectError::Decode(DecodeError::Io(source)) => match refusal_of_certificate(&source) {
            Some(refusal) => ConnectError::Transport(refusal),
            None => ConnectError::Decode(DecodeError::Io(source)),
        },
        error => error,
    })?;
    require(attrs, &parameters, address)?;
    Ok(Opened {
        framed: exchange.framed,
        server: exchange.address,
        is_encrypted: exchange.is_encrypted,
        parameters,
        key,
    })
}

/// What a server said before it hung up, or how it did.
async fn last_words(exchange: &mut Exchange) -> Option<ConnectError> {
    match exchange.receive().await {
        Ok(message @ BackendMessage::ErrorResponse(_)) => Some(exchange.unexpected(&message, "silence")),
        Err(error @ ConnectError::Decode(_)) => Some(error),
        _ => None,
    }
}

/// Introduces us, and takes what the server says of itself until it waits for commands.
async fn enter(
    exchange: &mut Exchange,
    message: &StartupMessage,
    credentials: &Credentials<'_>,
) -> Result<(Vec<ParameterStatus>, Option<BackendKeyData>), ConnectError> {
    exchange.send(FrontendMessage::Startup(message.clone())).await?;
    authenticate(exchange, credentials).await?;
    let (mut parameters, mut key) = (Vec::new(), None);
    loop {
        match exchange.receive().await? {
            BackendMessage::ReadyForQuery(_) => return Ok((parameters, key)),
            BackendMessage::ParameterStatus(parameter) if parameters.len() < MAX_PARAMETERS => {
                parameters.push(parameter);
            }
            BackendMessage::BackendKeyData(found) => key = Some(found),
            BackendMessage::NegotiateProtocolVersion(_) | BackendMessage::NoticeResponse(_) => {}
            other => return Err(exchange.unexpected(&other, "ReadyForQuery")),
        }
    }
}

/// That the server is what `target_session_attrs` asks for, as it says of itself. PostgreSQL 14 and later do.
fn require(
    attrs: TargetSessionAttrs,
    parameters: &[ParameterStatus],
    address: &Address,
) -> Result<(), ConnectError> {
    let is_on = |name: &str| {
        let found = parameters.iter().find(|parameter| parameter.name == *name);
        found.is_some_and(|parameter| parameter.value == *"on")
    };
    let (in_recovery, read_only) = (is_on("in_hot_standby"), is_on("default_transaction_read_only"));
    if attrs.fits(in_recovery, read_only) {
        return Ok(());
    }
    Err(ConnectError::OtherServer {
        address: address.to_string(),
        wanted: attrs,
        found: match (in_recovery, read_only) {
            (true, _) => "is a stand-by",
            (false, true) => "takes read-only sessions only",
            (false, false) => "is a primary",
        },
    })
}
