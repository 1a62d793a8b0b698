//! The password file, `~/.pgpass` or where `PGPASSFILE` says.
//!
//! Format and rules are libpq's: [The Password File](https://www.postgresql.org/docs/current/libpq-pgpass.html). Where
//! libpq warns and goes on without a file that others can read, this is an error, because what follows would only be that
//! the server asks for a password.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::local::{Local, SOCKET_DIRECTORIES};
use super::{Host, PgUrlError};

/// The permissions of group and others.
const OF_OTHERS: u32 = 0o077;

/// Whose password is looked for.
pub(super) struct Wanted<'a> {
    pub(super) host: &'a Host,
    pub(super) port: u16,
    pub(super) dbname: &'a str,
    pub(super) user: &'a str,
}

/// A password file that was read. The file need not exist.
pub(super) struct PassFile {
    path: PathBuf,
    content: Vec<u8>,
}

impl PassFile {
    /// Reads the file that is named, or the one at the usual place.
    pub(super) fn read(named: Option<String>, local: &Local) -> Result<Option<Self>, PgUrlError> {
        let usual = || local.home.as_ref().map(|home| home.join(".pgpass"));
        let Some(path) = named.map(PathBuf::from).or_else(usual) else {
            return Ok(None);
        };
        let problem = |problem: String| PgUrlError::PassFile {
            path: path.display().to_string(),
            problem,
        };
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(problem(format!("cannot be read ({error})"))),
        };
        if !found.is_file() {
            // Such as /dev/null, for no passwords at all.
            return Ok(None);
        }
        if found.mode() & OF_OTHERS != 0 {
            let remedy = format!(
                "can be used by others than its owner: run chmod 0600 {}",
                path.display()
            );
            return Err(problem(remedy));
        }
        let content = fs::read(&path).map_err(|error| problem(format!("cannot be read ({error})")))?;
        Ok(Some(Self { path, content }))
    }

    /// The password of the first line that matches.
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> Result<Option<String>, PgUrlError> {
        let found = find(&self.content, wanted).map(String::from_utf8).transpose();
        found.map_err(|_| PgUrlError::PassFile {
            path: self.path.display().to_string(),
            problem: "has a password for this connection that is not UTF-8".to_owned(),
        })
    }
}

fn find(content: &[u8], wanted: &Wanted<'_>) -> Option<Vec<u8>> {
    let host = host(wanted.host);
    let port = wanted.port.to_string();
    let fields = [
        host.as_bytes(),
        port.as_bytes(),
        wanted.dbname.as_bytes(),
        wanted.user.as_bytes(),
    ];
    content
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.starts_with(b"#"))
        .find_map(|line| {
            let rest = fields
                .iter()
                .try_fold(line, |line, wanted| matched(line, wanted))?;
            Some(unescaped(rest)).filter(|password| !password.is_empty())
        })
}

/// What a host is called in the file: the usual directory of sockets is `localhost`.
fn host(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) if SOCKET_DIRECTORIES.map(Path::new).contains(&folder.as_path()) => {
            "localhost".to_owned()
        }
        Host::Unix(folder) => folder.display().to_string(),
    }
}

/// What stands behind the first field of a line, where that is the wanted one or `*`. A backslash stands before a colon or a
/// backslash that belongs to the field.
fn matched<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let (mut rest, mut wanted) = (line, wanted);
    loop {
        let (byte, behind) = match (rest, wanted) {
            ([b':', behind @ ..], []) => return Some(behind),
            ([b'\\', byte, behind @ ..] | [byte, behind @ ..], _) => (byte, behind),
            ([], _) => return None,
        };
        wanted = wanted.strip_prefix(&[*byte])?;
        rest = behind;
    }
}

/// A password without the backslashes before its colons and backslashes. A bare colon ends it.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut password = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => break,
            b'\\' => password.push(bytes.next().unwrap_or(b'\\')),
            byte => password.push(byte),
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn password(content: &str, host: &Host) -> Option<String> {
        let wanted = Wanted {
            host,
            port: 5432,
            dbname: "shop",
            user: "ada",
        };
        find(content.as_bytes(), &wanted).map(|found| String::from_utf8(found).unwrap())
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        let db = Host::Tcp("db".to_owned());
        for (content, expected) in [
            ("", None),
            ("db:5432:shop:ada:right", Some("right")),
            ("db:5432:shop:ada:right\r\n", Some("right")),
            (
                "# db:5432:shop:ada:no\n\ndb:5432:shop:ada:right\ndb:5432:shop:ada:no",
                Some("right"),
            ),
            ("*:*:*:*:right", Some("right")),
            ("db:*:shop:*:right", Some("right")),
            (
                "other:5432:shop:ada:no\n*:5433:*:*:no\n*:*:*:ad:no\n*:*:*:adam:no",
                None,
            ),
            ("db*:5432:shop:ada:no", None),
            ("db:5432:shop:ada", None),
            ("db:5432:shop:ada:", None),
            (r"\d\b:5432:shop:ada:right", Some("right")),
            (r"db:5432:shop:ada:a\:b\\c", Some(r"a:b\c")),
            (r"db:5432:shop:ada:a:b", Some("a")),
            (r"db:5432:shop:ada:a\", Some(r"a\")),
            ("db:5432:shop:ada: a#b ", Some(" a#b ")),
        ] {
            assert_eq!(password(content, &db).as_deref(), expected, "{content:?}");
        }
    }

    #[test]
    fn sockets_are_named_by_their_directory_or_localhost() {
        let content = "localhost:5432:shop:ada:usual\n/run/pg:5432:shop:ada:other";
        for (folder, expected) in [("/tmp", Some("usual")), ("/run/pg", Some("other")), ("/x", None)] {
            let host = Host::Unix(PathBuf::from(folder));
            assert_eq!(password(content, &host).as_deref(), expected, "{folder}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        let local = Local {
            home: Some(folder.path().to_owned()),
            ..Local::system()
        };
        let read = || PassFile::read(Some(path.display().to_string()), &local);
        assert!(read().unwrap().is_none());
        fs::write(&path, "*:*:*:*:right").unwrap();
        for (mode, is_refused) in [(0o640, true), (0o604, true), (0o600, false), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match read() {
                Ok(found) => assert!(found.is_some() && !is_refused, "{mode:o}"),
                Err(error) => assert!(is_refused && error.to_string().contains("chmod 0600"), "{error}"),
            }
        }
        fs::rename(&path, folder.path().join(".pgpass")).unwrap();
        assert!(PassFile::read(None, &local).unwrap().is_some());
        assert!(
            PassFile::read(Some("/dev/null".to_owned()), &local)
                .unwrap()
                .is_none()
        );
    }

    /// As it stands in the file.
    fn escaped(text: &str) -> String {
        text.replace('\\', r"\\").replace(':', r"\:")
    }

    proptest! {
        #[test]
        fn whatever_is_escaped_is_found(
            user in "[^\0\r\n]{1,9}",
            dbname in "[^\0\r\n]{1,9}",
            secret in "[^\0\r\n]{1,9}",
            others in "([^\0]{0,20}\n)?",
        ) {
            prop_assume!(!others.contains(':') && user != "*" && dbname != "*");
            let host = Host::Tcp("db".to_owned());
            let line = format!("{others}db:5432:{}:{}:{}", escaped(&dbname), escaped(&user), escaped(&secret));
            let wanted = Wanted { host: &host, port: 5432, dbname: &dbname, user: &user };
            prop_assert_eq!(find(line.as_bytes(), &wanted), Some(secret.into_bytes()));
        }

        #[test]
        fn any_file_is_read(content in proptest::collection::vec(any::<u8>(), 0..60), text in "[:\\\\*a\n]{0,30}") {
            let host = Host::Tcp("a".to_owned());
            let wanted = Wanted { host: &host, port: 1, dbname: "a", user: "a" };
            let _ = (find(&content, &wanted), find(text.as_bytes(), &wanted));
        }
    }
}
