//! What a URL takes from the machine where it leaves it out.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where servers put their sockets: Debian and Red Hat, then PostgreSQL's own default.
pub(super) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The machine's answers, replaceable in tests.
#[derive(Clone)]
pub(super) struct Local {
    /// The name of the user the process runs as.
    pub(super) user: Option<String>,
    /// The user's home directory.
    pub(super) home: Option<PathBuf>,
    /// The environment variables of libpq.
    pub(super) environment: BTreeMap<String, OsString>,
    /// The directory in which a server's socket for this port lies.
    pub(super) socket_directory: fn(u16) -> Option<PathBuf>,
}

impl Local {
    /// The machine the process runs on.
    pub(super) fn system() -> Self {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let home = env::var_os("HOME").filter(|home| !home.is_empty());
        Self {
            home: home
                .map(PathBuf::from)
                .or_else(|| user.as_ref().map(|user| user.dir.clone())),
            user: user.map(|user| user.name),
            environment: env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, value)| name.starts_with("PG") && !value.is_empty())
                .collect(),
            socket_directory,
        }
    }
}

fn socket_directory(port: u16) -> Option<PathBuf> {
    SOCKET_DIRECTORIES
        .iter()
        .map(Path::new)
        .find(|directory| directory.join(format!(".s.PGSQL.{port}")).exists())
        .map(Path::to_path_buf)
}
