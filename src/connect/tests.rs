//! What can be shown without a server: our first bytes, and what is made of a peer's.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pgstream_proto::frontend::StartupMessage;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SignatureAlgorithm};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::transport::Channel;
use super::{ConnectError, Opened, TransportError, address, end_point, negotiate, open, transport};
use crate::config::{Encryption, Host, PgUrl, Verification};

/// SSLRequest.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A server's certificate, the authority that signed it, and a file with that authority's.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.crt"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn file(&self) -> String {
        self.folder.path().join("root.crt").display().to_string()
    }

    /// The parameters of a URL that show a certificate which this authority has signed.
    fn client(&self) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("client.crt"), certificate.pem()).unwrap();
        std::fs::write(path("client.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(path("client.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "sslcert={}&sslkey={}",
            path("client.crt").display(),
            path("client.key").display()
        )
    }

    /// An acceptor with a certificate for these names.
    fn acceptor(&self, names: &[&str], alpn: &[&[u8]]) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(names).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A peer that does with its only connection what it is told.
async fn peer<F: Future<Output = ()> + Send>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await;
    });
    address
}

async fn transport(peer: SocketAddr, parameters: &str) -> Result<Channel, TransportError> {
    let url = PgUrl::parse(&format!("postgres://u@{peer}/d?{parameters}")).unwrap();
    let server = &url.servers[0];
    let address = address::of(server, Duration::from_secs(10)).await?.remove(0);
    let way = url.tls.ways(server)[0];
    let opened = transport::open(&address, server, &url, way).await?;
    Ok(opened.channel)
}

async fn asked_for_tls(stream: &mut TcpStream) {
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, SSL_REQUEST);
}

#[tokio::test]
async fn tls_at_once_agrees_on_the_protocol() {
    let authority = Authority::new();
    let parameters = format!(
        "sslmode=verify-full&sslnegotiation=direct&sslrootcert={}",
        authority.file()
    );
    for (alpn, is_agreed) in [(&[b"postgresql".as_slice()] as &[&[u8]], true), (&[], false)] {
        let acceptor = authority.acceptor(&["127.0.0.1"], alpn);
        let peer = peer(async move |stream| {
            // The handshake is the first thing that comes: there is no SSLRequest.
            let accepted = acceptor.accept(stream).await.unwrap();
            let agreed = accepted.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed.is_some(), is_agreed);
        })
        .await;
        match transport(peer, &parameters).await {
            Ok(Channel::Tls { end_point }) => assert!(is_agreed && end_point.is_some()),
            Err(TransportError::NoAlpn { .. }) => assert!(!is_agreed),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_on_tls_at_once_may_be_an_old_one_or_a_cut_network() {
    for answer in [b"".as_slice(), b"EFATAL:  unsupported frontend protocol\0"] {
        let peer = peer(async move |mut stream| {
            let _ = stream.read(&mut [0; 64]).await;
            stream.write_all(answer).await.unwrap();
        })
        .await;
        let outcome = transport(peer, "sslmode=require&sslnegotiation=direct").await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, TransportError::NotDirect { .. }), "{error:?}");
        assert!(!error.is_permanent(), "{error}");
    }
}

#[tokio::test]
async fn our_certificate_is_refused_within_the_handshake_of_tls_1_2() {
    let (authority, other) = (Authority::new(), Authority::new());
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    // Without TLS it would not be shown at all, so that is not tried with `prefer`.
    for mode in ["require", "prefer"] {
        let acceptor = acceptor.clone();
        let peer = peer(async move |mut stream| {
            asked_for_tls(&mut stream).await;
            stream.write_all(b"S").await.unwrap();
            let _ = acceptor.accept(stream).await;
        })
        .await;
        let outcome = transport(peer, &format!("sslmode={mode}&{}", other.client())).await;
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, TransportError::ClientCertificate { .. }),
            "{mode}: {error:?}"
        );
        assert!(error.is_permanent() && !error.is_of_tls());
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_has_is_not_replaced_by_the_address() {
    let mut server = PgUrl::parse("postgres://u@127.0.0.1/d")
        .unwrap()
        .servers
        .remove(0);
    let address = address::of(&server, Duration::from_secs(10))
        .await
        .unwrap()
        .remove(0);
    server.host = Host::Tcp("db-.internal".to_owned());
    let name = |verification| negotiate::server_name(&address, &server, verification);
    assert!(name(Verification::Authority).is_ok());
    let error = name(Verification::AuthorityAndName).unwrap_err();
    assert!(
        error.is_permanent() && error.to_string().contains("db-.internal"),
        "{error}"
    );
}

/// What `open` makes of a server without TLS that lets everybody in who introduces himself, and then says this.
async fn opened(words: impl AsRef<[u8]> + Send + 'static) -> Result<Opened, ConnectError> {
    let peer = peer(async move |mut stream| {
        asked_for_tls(&mut stream).await;
        stream.write_all(b"N").await.unwrap();
        let length = stream.read_u32().await.unwrap();
        stream
            .read_exact(&mut vec![0; length as usize - 4])
            .await
            .unwrap();
        stream.write_all(words.as_ref()).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let url = PgUrl::parse(&format!("postgres://u@{peer}/d?sslmode=prefer")).unwrap();
    let message = StartupMessage {
        parameters: vec![("user".to_owned(), "u".to_owned())],
    };
    open(&url, &message).await
}

#[tokio::test]
async fn a_server_without_tls_is_not_asked_twice_without_it() {
    // The second time nobody would listen.
    let error = opened(b"E\0\0\0\x1cSFATAL\0C28000\0Mnot you\0\0")
        .await
        .unwrap_err();
    assert_eq!(
        error.server().map(|error| error.code.as_str()),
        Some("28000"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_says_so_much_of_itself_and_no_more() {
    for (count, is_taken) in [(100, true), (101, false)] {
        let mut words = b"R\0\0\0\x08\0\0\0\0".to_vec();
        words.extend(b"S\0\0\0\x08a\0b\0".repeat(count));
        words.extend(b"Z\0\0\0\x05I");
        let outcome = opened(words).await;
        assert_eq!(outcome.is_ok(), is_taken, "{count}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn what_stands_behind_the_answer_is_never_taken_for_the_servers_words() {
    let peer = peer(async |mut stream| {
        asked_for_tls(&mut stream).await;
        // AuthenticationOk in plain text, put there by somebody in between.
        stream.write_all(b"SR\0\0\0\x08\0\0\0\0").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = transport(peer, "sslmode=require").await.unwrap_err();
    assert!(matches!(error, TransportError::Handshake { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_left_or_talked_to_as_the_mode_says() {
    let no = async |mut stream: TcpStream| {
        asked_for_tls(&mut stream).await;
        stream.write_all(b"N").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let authority = Authority::new();
    for (mode, is_left) in [
        ("prefer", false),
        ("require", true),
        ("verify-ca", true),
        ("verify-full", true),
    ] {
        let parameters = format!("sslmode={mode}&sslrootcert={}", authority.file());
        match transport(peer(no).await, &parameters).await {
            Ok(channel) => assert!(channel == Channel::Plain && !is_left, "{mode}"),
            Err(error) => {
                assert!(is_left && error.is_permanent(), "{mode}: {error}");
                let text = error.to_string();
                assert!(text.contains(&format!("sslmode is {mode}")), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn the_text_of_a_peer_that_has_proved_nothing_is_not_repeated() {
    let peer = peer(async |mut stream| {
        asked_for_tls(&mut stream).await;
        stream.write_all(b"Esend me your password").await.unwrap();
    })
    .await;
    let error = transport(peer, "sslmode=prefer").await.unwrap_err();
    assert!(matches!(error, TransportError::NotPostgres { .. }), "{error:?}");
    assert!(!error.to_string().contains("password"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_was_named_itself_is_trusted_as_long_as_it_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let now = rcgen::date_time_ymd(2020, 1, 1);
    for (is_valid, mode, expected) in [
        (true, "verify-full", Ok(())),
        (true, "verify-ca", Ok(())),
        (false, "verify-ca", Err("expired")),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        // As `openssl req -x509` makes it.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        if !is_valid {
            parameters.not_after = now;
        }
        let certificate = parameters.self_signed(&key).unwrap();
        let file = folder.path().join("server.crt");
        std::fs::write(&file, certificate.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let peer = peer(async move |mut stream| {
            asked_for_tls(&mut stream).await;
            stream.write_all(b"S").await.unwrap();
            let _ = acceptor.accept(stream).await;
        })
        .await;
        let outcome = transport(peer, &format!("sslmode={mode}&sslrootcert={}", file.display())).await;
        match (outcome, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (outcome, _) => panic!("{mode}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(Path::new(&path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default()
        .signed_by(&key, &authority.issuer)
        .unwrap();
    write("client.crt", &certificate.pem(), 0o644);
    write("client.key", &key.serialize_pem(), 0o600);
    write("open.key", &key.serialize_pem(), 0o644);
    write("other.key", &KeyPair::generate().unwrap().serialize_pem(), 0o600);
    write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        0o600,
    );
    write("empty", "", 0o600);
    let (client, good) = (path("client.crt"), path("client.key"));
    for (parameters, expected) in [
        (
            format!("sslmode=verify-ca&sslrootcert={}", path("missing")),
            "sslrootcert",
        ),
        (
            format!("sslmode=require&sslrootcert={}", path("missing")),
            "cannot be read",
        ),
        (
            format!("sslmode=verify-ca&sslrootcert={}", path("empty")),
            "has no certificate",
        ),
        (
            format!("sslmode=require&sslcert={client}&sslkey={}", path("missing")),
            "sslkey",
        ),
        (
            format!("sslmode=require&sslcert={client}&sslkey={}", path("open.key")),
            "chmod 0600",
        ),
        (
            format!("sslmode=require&sslcert={client}&sslkey={}", path("other.key")),
            "is not the key of",
        ),
        (
            format!(
                "sslmode=require&sslcert={client}&sslkey={}",
                path("encrypted.key")
            ),
            "is encrypted",
        ),
        (
            format!("sslmode=require&sslcert={}&sslkey={good}", path("empty")),
            "sslcert",
        ),
    ] {
        let peer = peer(async |mut stream| {
            asked_for_tls(&mut stream).await;
            stream.write_all(b"S").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let error = transport(peer, &parameters).await.unwrap_err();
        assert!(error.is_permanent(), "{parameters}: {error}");
        assert!(error.to_string().contains(expected), "{parameters}: {error}");
    }
}

#[test]
fn the_hash_is_that_of_the_signature() {
    for (algorithm, length) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
        (&rcgen::PKCS_ED25519, None),
    ] as [(&SignatureAlgorithm, Option<usize>); 3]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(end_point::of(certificate.der()).map(|hash| hash.len()), length);
    }
    assert_eq!(end_point::of(b"no certificate"), None);
}

#[tokio::test]
async fn what_is_wrong_with_each_server_is_said() {
    // Nobody listens on a port that was given back.
    let port = async || {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let (one, other) = (port().await, port().await);
    let url = format!("postgres://u@127.0.0.1:{one},127.0.0.1:{other}/d?sslmode=disable");
    let message = StartupMessage {
        parameters: Vec::new(),
    };
    let error = open(&PgUrl::parse(&url).unwrap(), &message).await.unwrap_err();
    assert!(!error.is_permanent());
    assert!(
        matches!(&error, ConnectError::NoServer { failures } if failures.len() == 2),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains(&one.to_string()) && text.contains(&other.to_string()),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert_eq!(
        PgUrl::parse(&url)
            .unwrap()
            .tls
            .ways(&PgUrl::parse(&url).unwrap().servers[0]),
        [Encryption::Plain]
    );
}
