//! A throwaway PostgreSQL server: `initdb` in a temporary folder, own port, own socket, gone when dropped.
//!
//! The server listens on loopback only, trusts every local user, and is set up for logical decoding. It trades
//! durability for speed (`fsync=off`): it is for demonstrations and tests, never for data that matters.

mod error;
mod installation;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

pub use error::ClusterError;
pub use installation::Installation;

/// How long a server may take to accept connections, or to stop.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition on the server is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(5);
/// How many ports are tried: one that was free a moment ago may have been taken.
const PORT_TRIES: usize = 5;

/// Settings of every throwaway server; those given to [`Cluster::start`] come after them and win.
const SETTINGS: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("max_prepared_transactions", "10"),
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "off"),
    ("shared_buffers", "32MB"),
    ("logging_collector", "off"),
];

/// How a server is told to stop: PostgreSQL's own words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the sessions, writes a checkpoint, then stops.
    Fast,
    /// Stops at once, as a crash would; the next start recovers.
    Immediate,
}

/// A running throwaway server. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    installation: Installation,
    folder: TempDir,
    owner: Option<User>,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes a cluster and starts its server, with `settings` (names and values as in `postgresql.conf`).
    pub fn start(installation: &Installation, settings: &[(&str, &str)]) -> Result<Self, ClusterError> {
        let owner = server_owner()?;
        let folder = tempfile::Builder::new()
            .prefix("pgstream-pg-")
            .tempdir()
            .map_err(|source| ClusterError::Io {
                what: "create a temporary folder",
                source,
            })?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))
            .and_then(|()| match &owner {
                Some(user) => chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())),
                None => Ok(()),
            })
            .map_err(|source| ClusterError::Io {
                what: "hand the temporary folder to the server",
                source,
            })?;
        let mut cluster = Self {
            installation: installation.clone(),
            folder,
            owner,
            port: 0,
            server: None,
        };
        cluster.initdb()?;
        cluster.write_settings(settings)?;
        cluster.launch()?;
        Ok(cluster)
    }

    /// A connection URL for `dbname`, as the superuser `postgres`, over TCP.
    #[must_use]
    pub fn url(&self, dbname: &str) -> String {
        self.url_as("postgres", dbname)
    }

    /// A connection URL for `dbname` as `user`, over TCP.
    #[must_use]
    pub fn url_as(&self, user: &str, dbname: &str) -> String {
        format!(
            "postgres://{user}@127.0.0.1:{}/{dbname}?sslmode=disable",
            self.port
        )
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory, for settings files such as `pg_hba.conf`.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A command that runs a statement with the installation's `psql`, and fails when the statement does.
    #[must_use]
    pub fn psql(&self, dbname: &str, statement: &str) -> Command {
        let mut command = self.command("psql");
        // Every part of the connection is in the URL: the caller's settings for libpq must not add to it.
        let is_libpq = |name: &str| name.starts_with("PG") && !name.starts_with("PGSTREAM_");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_libpq) {
                command.env_remove(name);
            }
        }
        command
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
            .arg("--dbname")
            .arg(self.url(dbname))
            .args(["--command", statement])
            .stdin(Stdio::null());
        command
    }

    /// Stops the server and waits until it has ended. The cluster keeps its data and its port.
    pub fn stop(&mut self, mode: StopMode) -> Result<(), ClusterError> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let signal = match mode {
            StopMode::Fast => Signal::SIGINT,
            StopMode::Immediate => Signal::SIGQUIT,
        };
        let pid = Pid::from_raw(i32::try_from(server.id()).expect("process ids fit in 31 bits"));
        let waited = kill(pid, signal)
            .map_err(std::io::Error::from)
            .and_then(|()| wait_for_exit(&mut server, DEADLINE));
        if let Err(source) = waited {
            // A server that does not obey must not outlive its cluster.
            let _ = server.kill();
            let _ = server.wait();
            return Err(ClusterError::Io {
                what: "stop the server",
                source,
            });
        }
        Ok(())
    }

    /// Starts the server again after [`stop`](Self::stop), on the same port.
    pub fn restart(&mut self) -> Result<(), ClusterError> {
        if self.server.is_some() {
            self.stop(StopMode::Fast)?;
        }
        self.spawn_server()?;
        self.wait_until_ready()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn initdb(&self) -> Result<(), ClusterError> {
        let output = self
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(self.data_directory())
            .output()
            .map_err(|source| ClusterError::Io {
                what: "run initdb",
                source,
            })?;
        if output.status.success() {
            return Ok(());
        }
        Err(ClusterError::InitDb {
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn write_settings(&self, settings: &[(&str, &str)]) -> Result<(), ClusterError> {
        let mut lines = String::new();
        let allow_list = self
            .installation
            .has_setting("output_plugin_libraries")
            .then_some(("output_plugin_libraries", "pgoutput, test_decoding, wal2json"));
        for (name, value) in SETTINGS
            .iter()
            .copied()
            .chain(allow_list)
            .chain(settings.iter().copied())
        {
            lines.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let path = self.data_directory().join("postgresql.auto.conf");
        fs::write(path, lines).map_err(|source| ClusterError::Io {
            what: "write the settings",
            source,
        })
    }

    /// Starts the server on a free port; takes another port if this one was snatched away in between.
    fn launch(&mut self) -> Result<(), ClusterError> {
        let mut tries = 0;
        loop {
            tries += 1;
            self.port = free_port()?;
            self.spawn_server()?;
            match self.wait_until_ready() {
                Err(ClusterError::Ended { log })
                    if log.contains("Address already in use") && tries < PORT_TRIES => {}
                outcome => return outcome,
            }
        }
    }

    fn spawn_server(&mut self) -> Result<(), ClusterError> {
        let io = |source| ClusterError::Io {
            what: "start the server",
            source,
        };
        let log = File::create(self.log_path()).map_err(io)?;
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data_directory())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io)?)
            .stderr(log)
            .spawn()
            .map_err(io)?;
        self.server = Some(child);
        Ok(())
    }

    /// Waits until the server says that it accepts connections, and its port does.
    fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let server = self
                .server
                .as_mut()
                .expect("only called after the server was spawned");
            if let Ok(Some(_)) = server.try_wait() {
                self.server = None;
                return Err(ClusterError::Ended { log: self.log() });
            }
            let ready = self
                .log()
                .contains("database system is ready to accept connections");
            if ready && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ClusterError::NotReady {
                    seconds: DEADLINE.as_secs(),
                    log: self.log(),
                });
            }
            thread::sleep(POLL);
        }
    }

    /// A command of this installation, run as the server's owner.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.installation.program(name));
        // Neither the caller's folder (which the owner may not enter) nor its settings for libpq concern the server.
        command
            .current_dir(self.folder.path())
            .env_remove("PGDATA")
            .env_remove("PGPORT");
        // A signal typed at the terminal is for the program that owns the cluster: it stops the server itself.
        command.process_group(0);
        if let Some(user) = &self.owner {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody reads the data again, so there is nothing to write at the end.
        let _ = self.stop(StopMode::Immediate);
    }
}

/// PostgreSQL refuses to run as root: root hands the server to the system user `postgres`.
fn server_owner() -> Result<Option<User>, ClusterError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name("postgres") {
        Ok(Some(user)) => Ok(Some(user)),
        Ok(None) => Err(ClusterError::NoOwner),
        Err(errno) => Err(ClusterError::Io {
            what: "look up the user postgres",
            source: errno.into(),
        }),
    }
}

fn free_port() -> Result<u16, ClusterError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| ClusterError::Io {
            what: "find a free port",
            source,
        })
}

fn wait_for_exit(child: &mut Child, within: Duration) -> std::io::Result<()> {
    let deadline = Instant::now() + within;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_answers_and_goes_away() {
        let installation = Installation::find().unwrap();
        let mut cluster = Cluster::start(&installation, &[("application_name", "it's")]).unwrap();
        let folder = cluster.socket_folder().to_owned();
        TcpStream::connect(("127.0.0.1", cluster.port())).unwrap();
        cluster.stop(StopMode::Fast).unwrap();
        TcpStream::connect(("127.0.0.1", cluster.port())).unwrap_err();
        cluster.restart().unwrap();
        TcpStream::connect(("127.0.0.1", cluster.port())).unwrap();
        drop(cluster);
        assert!(!folder.exists());
    }

    #[test]
    fn a_setting_the_server_refuses_is_shown_with_the_servers_own_words() {
        let installation = Installation::find().unwrap();
        let error = Cluster::start(&installation, &[("no_such_setting", "1")]).unwrap_err();
        assert!(error.to_string().contains("no_such_setting"), "{error}");
    }
}
