//! Why a throwaway server could not be had.

use std::io;

/// Trouble with a throwaway PostgreSQL server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No PostgreSQL server is installed here.
    #[error(
        "no PostgreSQL server was found (looked at $PGSTREAM_PG_BIN, pg_config, /usr/lib/postgresql, and $PATH).\n\
         Install one with wal2json: on Debian and Ubuntu `apt-get install postgresql postgresql-<version>-wal2json`, \
         on Fedora `dnf install postgresql-server wal2json`, on macOS `brew install postgresql wal2json`"
    )]
    NotInstalled,
    /// PostgreSQL is there, its output plugin is not.
    #[error(
        "PostgreSQL {version} is installed in {bin}, but not its output plugin wal2json.\n\
         Install it: on Debian and Ubuntu `apt-get install postgresql-{version}-wal2json`"
    )]
    NoWal2Json {
        /// Major version of the installation.
        version: u32,
        /// Its folder of programs.
        bin: String,
    },
    /// Root needs another user to run the server.
    #[error(
        "PostgreSQL refuses to run as root and there is no user `postgres` to run it as: \
         create one (`useradd --system postgres`) or start this as another user"
    )]
    NoOwner,
    /// `initdb` failed.
    #[error("initdb failed: {message}")]
    InitDb {
        /// What it printed.
        message: String,
    },
    /// The server ended while it started.
    #[error("the throwaway PostgreSQL server ended at its start; it said:\n{log}")]
    Ended {
        /// Its log.
        log: String,
    },
    /// The server did not accept connections in time.
    #[error("the throwaway PostgreSQL server was not ready after {seconds} s; it said:\n{log}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// Its log.
        log: String,
    },
    /// The operating system refused something.
    #[error("could not {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}
