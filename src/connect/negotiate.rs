//! Whether TLS begins, and its handshake.
//!
//! Protocol: [SSL Session Encryption](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL).

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use pgstream_proto::FrontendMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};
use tokio_util::either::Either;

use super::address::Address;
use super::encrypted::Encrypted;
use super::files::{ALPN, client_config};
use super::transport::{Channel, Transport};
use super::{TransportError, end_point};
use crate::config::{Encryption, Host, Roots, Server, SslNegotiation, TlsOptions, Verification};

/// Begins TLS on a new connection, or leaves it as it is where the server has none and `encryption` says that this will do.
pub(super) async fn encrypted(
    mut stream: TcpStream,
    (address, server): (&Address, &Server),
    options: &TlsOptions,
    encryption: Encryption,
) -> Result<Transport, TransportError> {
    let is_direct = options.negotiation == SslNegotiation::Direct;
    if !is_direct && !has_tls(&mut stream, address).await? {
        return match encryption {
            Encryption::Tls => Err(TransportError::NoTls {
                address: address.to_string(),
                mode: options.mode,
            }),
            Encryption::IfOffered | Encryption::Plain => Ok(Transport {
                socket: Either::Left(Either::Left(stream)),
                channel: Channel::Plain,
            }),
        };
    }
    let files = options.clone();
    let config = spawn_blocking(move || client_config(&files)).await;
    // It is not waited for any more only where all of the program ends.
    let config = config.map_err(|ended| TransportError::Connect {
        address: address.to_string(),
        source: io::Error::other(ended),
    })??;
    let name = server_name(address, server, options.verification())?;
    let failed = |source| failure(source, (address, server), options);
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(failed)?;
    if is_direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(TransportError::NoAlpn {
            address: address.to_string(),
        });
    }
    let channel = Channel::Tls {
        end_point: end_point_of(&stream),
    };
    Ok(Transport {
        socket: Either::Right(Box::new(Encrypted::new(stream))),
        channel,
    })
}

/// Asks the server for TLS.
///
/// One byte is read and no more: what somebody in between has put behind it, to be taken for the server's words once the
/// stream is encrypted ([CVE-2021-23222](https://www.postgresql.org/support/security/CVE-2021-23222/)), comes to the TLS
/// handshake, which it makes fail.
async fn has_tls(stream: &mut TcpStream, address: &Address) -> Result<bool, TransportError> {
    let mut request = BytesMut::new();
    FrontendMessage::SslRequest
        .encode(&mut request)
        .expect("the message has no fields that could be wrong");
    let answer = async {
        stream.write_all(&request).await?;
        stream.read_u8().await
    };
    match answer.await {
        Ok(b'S') => Ok(true),
        Ok(b'N') => Ok(false),
        // Also an ErrorResponse: nobody has proved yet to be the server, and its text is not to be believed.
        Ok(_) => Err(TransportError::NotPostgres {
            address: address.to_string(),
        }),
        Err(source) => Err(TransportError::Connect {
            address: address.to_string(),
            source,
        }),
    }
}

/// The name that the certificate has to be for. Where names are not looked at, one that no certificate could have does not
/// matter; where they are, the address does not do instead, which is whatever the name service says.
pub(super) fn server_name(
    address: &Address,
    server: &Server,
    verification: Verification,
) -> Result<ServerName<'static>, TransportError> {
    let name = match &server.host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    // An IPv6 address may have a zone, which no certificate knows.
    let without_zone = name.split('%').next().unwrap_or(&name).to_owned();
    ServerName::try_from(without_zone).or_else(|_| match address.ip() {
        Some(ip) if verification != Verification::AuthorityAndName => Ok(ServerName::from(ip)),
        _ => Err(TransportError::NoName { host: name }),
    })
}

fn end_point_of(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    end_point::of(certificates.first()?)
}

/// What the failure of a handshake means.
fn failure(
    source: io::Error,
    (address, server): (&Address, &Server),
    options: &TlsOptions,
) -> TransportError {
    let address = address.to_string();
    let not_trusted = |problem: String| TransportError::NotTrusted {
        address: address.clone(),
        problem,
        roots: match &options.roots {
            Roots::File(path) => Some(path.display().to_string()),
            Roots::System | Roots::None => None,
        },
    };
    match of_tls(&source) {
        Some(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            TransportError::WrongName {
                address,
                host: server.host.to_string(),
                presented: presented.clone(),
            }
        }
        Some(Error::InvalidCertificate(problem)) => not_trusted(match problem {
            // The signature is bad where two authorities have one name, as after one was made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "none of the authorities that are trusted has signed it".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet (are the clocks right?)".to_owned()
            }
            problem => problem.to_string(),
        }),
        // Before it knew TLS at once, the server took its first bytes for a length that cannot be, and hung up.
        None | Some(Error::InvalidMessage(_)) if options.negotiation == SslNegotiation::Direct => {
            TransportError::NotDirect { address, source }
        }
        // Up to TLS 1.2 the server judges our certificate within the handshake.
        Some(Error::AlertReceived(alert)) if options.client.is_some() && is_of_a_certificate(*alert) => {
            TransportError::ClientCertificate { source }
        }
        _ => TransportError::Handshake { address, source },
    }
}

/// Whether the server says that it does not take our certificate.
fn is_of_a_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // Where two authorities have one name.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
    )
}

/// The server's refusal of our certificate, where it is that which an established stream ended with: in TLS 1.3 it comes after
/// the handshake.
#[must_use]
pub(super) fn refusal_of_certificate(error: &io::Error) -> Option<TransportError> {
    match of_tls(error) {
        Some(Error::AlertReceived(_)) => Some(TransportError::ClientCertificate {
            source: io::Error::other(error.to_string()),
        }),
        _ => None,
    }
}

fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
