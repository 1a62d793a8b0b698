//! A throwaway server that speaks TLS, with an authority of its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use pgstream::demo::cluster::Cluster;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::database;

/// The password of every role that has one.
pub(crate) const PASSWORD: &str = "hunter2";

/// How each role is asked who it is. The superuser's own sessions are not what is tested.
const HBA: &str = "\
local all postgres trust
host all postgres 127.0.0.1/32 trust
hostssl all certified 127.0.0.1/32 cert
hostssl all encrypted 127.0.0.1/32 scram-sha-256
hostnossl all unencrypted 127.0.0.1/32 trust
host all hashed 127.0.0.1/32 md5
host all trusted 127.0.0.1/32 trust
host all sent 127.0.0.1/32 password
host all streamer 127.0.0.1/32 scram-sha-256
";

/// The roles of [`HBA`].
const ROLES: &str = "\
CREATE ROLE certified LOGIN REPLICATION;
CREATE ROLE trusted LOGIN REPLICATION;
CREATE ROLE unencrypted LOGIN REPLICATION;
CREATE ROLE encrypted LOGIN REPLICATION PASSWORD 'hunter2';
CREATE ROLE sent LOGIN REPLICATION PASSWORD 'hunter2';
CREATE ROLE streamer LOGIN REPLICATION SUPERUSER PASSWORD 'hunter2';
SET password_encryption = 'md5';
CREATE ROLE hashed LOGIN REPLICATION PASSWORD 'hunter2'";

/// Somebody who signs certificates, and the files of what was signed.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, whom nobody trusts yet.
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "throwaway authority");
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("the authority signs itself");
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let authority = Self { folder, issuer };
        authority.write("root.crt", &authority.issuer.pem());
        authority
    }

    /// The file of its own certificate.
    pub(crate) fn root(&self) -> String {
        self.path("root.crt")
    }

    /// A certificate and its key in the PEM format: for a server with these names, or for a client whose role is `role`.
    pub(crate) fn sign(&self, names: &[&str], role: Option<&str>) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).expect("the names are good");
        if let Some(role) = role {
            parameters.distinguished_name.push(DnType::CommonName, role);
        }
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("the authority signs");
        (certificate.pem(), key.serialize_pem())
    }

    /// The parameters of a URL that show a certificate of this role.
    pub(crate) fn client(&self, role: &str) -> String {
        let (certificate, key) = self.sign(&[], Some(role));
        self.write(&format!("{role}.crt"), &certificate);
        self.write(&format!("{role}.key"), &key);
        format!(
            "sslcert={}&sslkey={}",
            self.path(&format!("{role}.crt")),
            self.path(&format!("{role}.key"))
        )
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("the temporary folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    }
}

/// A server with a certificate for these names, and the roles that authenticate in every way.
pub(crate) async fn secured(authority: &Authority, names: &[&str], settings: &[(&str, &str)]) -> Cluster {
    let mut cluster = with_roles(settings).await;
    let data = cluster.data_directory();
    let (certificate, key) = authority.sign(names, None);
    write_for(&data, "server.crt", &certificate);
    write_for(&data, "server.key", &key);
    let root = fs::read_to_string(authority.root()).expect("the authority has a certificate");
    write_for(&data, "root.crt", &root);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.auto.conf"))
        .expect("the cluster has settings");
    file.write_all(b"ssl = on\nssl_ca_file = 'root.crt'\n")
        .expect("the settings are writable");
    cluster.restart().expect("the server speaks TLS");
    cluster
}

/// A server without TLS, and the same roles.
pub(crate) async fn unsecured() -> Cluster {
    let mut cluster = with_roles(&[]).await;
    cluster.restart().expect("the server starts again");
    cluster
}

async fn with_roles(settings: &[(&str, &str)]) -> Cluster {
    let cluster = database::cluster(settings);
    let mut session = database::session(&cluster).await;
    database::run(&mut session, ROLES).await;
    write_for(&cluster.data_directory(), "pg_hba.conf", HBA);
    cluster
}

/// Writes a file that the server may read, and nobody else.
fn write_for(data: &Path, name: &str, text: &str) {
    let path = data.join(name);
    fs::write(&path, text).expect("the data directory is writable");
    let owner = fs::metadata(data).expect("the data directory is there");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("the owner can be changed");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the permissions can be changed");
}
