//! Somebody in between, with a certificate that is trusted: what channel binding is for.

use std::net::SocketAddr;
use std::sync::Arc;

use pgstream::config::PgUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{NAMES, assert_outcome};
use crate::support::proxy::SSL_REQUEST;
use crate::support::secured::{Authority, PASSWORD, secured};

/// Passes on what both sides say, each over TLS of its own.
async fn in_between(authority: &Authority, server: SocketAddr) -> SocketAddr {
    let (certificate, key) = authority.sign(&NAMES, None);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.root()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await.unwrap();
                client.write_all(b"S").await.unwrap();
                let mut client = acceptor.accept(client).await.unwrap();
                let mut upstream = TcpStream::connect(server).await.unwrap();
                upstream.write_all(&SSL_REQUEST).await.unwrap();
                assert_eq!(upstream.read_u8().await.unwrap(), b'S');
                let name = ServerName::try_from("localhost").unwrap();
                let mut upstream = connector.connect(name, upstream).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_password_is_not_passed_on_by_somebody_in_between() {
    let authority = Authority::new();
    let cluster = secured(&authority, &NAMES, &[]).await;
    let server = SocketAddr::from(([127, 0, 0, 1], cluster.port()));
    let proxy = in_between(&authority, server).await;
    let root = authority.root();
    for (binding, expected) in [
        // Nothing else tells the two apart: the certificate is trusted, and for the right name.
        ("disable", Ok(true)),
        ("prefer", Err("SCRAM channel binding check failed")),
        ("require", Err("SCRAM channel binding check failed")),
    ] {
        let url = format!(
            "postgres://streamer:{PASSWORD}@{proxy}/postgres?sslmode=verify-full&sslrootcert={root}&channel_binding={binding}"
        );
        assert_outcome(&PgUrl::parse(&url).unwrap(), expected).await;
    }
}
