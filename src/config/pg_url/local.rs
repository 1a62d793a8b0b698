//! What a URL takes from the machine where it leaves it out.

use std::path::{Path, PathBuf};

/// Where servers put their sockets: Debian and Red Hat, then PostgreSQL's own default.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The machine's answers, replaceable in tests.
pub(super) struct Local {
    /// The name of the user the process runs as.
    pub(super) user: fn() -> Option<String>,
    /// The directory in which a server's socket for this port lies.
    pub(super) socket_directory: fn(u16) -> Option<PathBuf>,
}

impl Local {
    /// The machine the process runs on.
    pub(super) const SYSTEM: Self = Self {
        user: os_user,
        socket_directory,
    };
}

fn os_user() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten()
        .map(|user| user.name)
}

fn socket_directory(port: u16) -> Option<PathBuf> {
    SOCKET_DIRECTORIES
        .iter()
        .map(Path::new)
        .find(|directory| directory.join(format!(".s.PGSQL.{port}")).exists())
        .map(Path::to_path_buf)
}
