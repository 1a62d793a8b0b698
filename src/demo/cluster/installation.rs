//! An installed PostgreSQL server, and how it is found.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClusterError;
use crate::config::keys::PROGRAMS_FOLDER;

/// Where Debian keeps the programs of each major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// The programs of one PostgreSQL server installation that has wal2json.
#[derive(Debug, Clone)]
pub struct Installation {
    bin: PathBuf,
    version: u32,
}

impl Installation {
    /// Finds the installation to use: `$PGSTREAM_PG_BIN` if set, else the newest of Debian's folders that has
    /// wal2json, else what `pg_config` names, else what `$PATH` holds.
    pub fn find() -> Result<Self, ClusterError> {
        if let Some(bin) = env::var_os(PROGRAMS_FOLDER) {
            return Self::at(Path::new(&bin))?.with_wal2json();
        }
        let mut found: Vec<Self> = candidates().iter().filter_map(|bin| Self::at(bin).ok()).collect();
        found.sort_by_key(|installation| std::cmp::Reverse(installation.version));
        let Some(newest) = found.first().cloned() else {
            return Err(ClusterError::NotInstalled);
        };
        found
            .into_iter()
            .find_map(|it| it.with_wal2json().ok())
            .map_or_else(|| newest.with_wal2json(), Ok)
    }

    /// The installation whose programs are in `bin`.
    fn at(bin: &Path) -> Result<Self, ClusterError> {
        let output = Command::new(bin.join("postgres")).arg("--version").output();
        let text = match &output {
            Ok(output) if bin.join("initdb").exists() => String::from_utf8_lossy(&output.stdout),
            _ => return Err(ClusterError::NotInstalled),
        };
        let version = major_version(&text).ok_or(ClusterError::NotInstalled)?;
        Ok(Self {
            bin: bin.to_owned(),
            version,
        })
    }

    /// This installation, if the output plugin is installed with it.
    fn with_wal2json(self) -> Result<Self, ClusterError> {
        let output = Command::new(self.program("pg_config"))
            .arg("--pkglibdir")
            .output();
        let configured = output
            .ok()
            .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("wal2json.so"));
        let beside = self.bin.with_file_name("lib").join("wal2json.so");
        if beside.exists() || configured.is_some_and(|path| path.exists()) {
            return Ok(self);
        }
        Err(ClusterError::NoWal2Json {
            version: self.version,
            bin: self.bin.display().to_string(),
        })
    }

    /// The path of one of its programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The major version, such as 15.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether this server knows the setting `name`. A server refuses to start with one it does not know.
    #[must_use]
    pub fn has_setting(&self, name: &str) -> bool {
        let described = Command::new(self.program("postgres"))
            .arg("--describe-config")
            .output();
        described.is_ok_and(|output| {
            output.stdout.split(|&byte| byte == b'\n').any(|line| {
                line.strip_prefix(name.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b"\t"))
            })
        })
    }
}

fn candidates() -> Vec<PathBuf> {
    let debian = fs::read_dir(DEBIAN_ROOT)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let path = env::var_os("PATH").unwrap_or_default();
    debian.chain(configured).chain(env::split_paths(&path)).collect()
}

/// Reads the major version out of `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_version(text: &str) -> Option<u32> {
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_as_servers_print_them() {
        for (text, version) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("nothing of the kind", None),
        ] {
            assert_eq!(major_version(text), version, "{text}");
        }
    }
}
