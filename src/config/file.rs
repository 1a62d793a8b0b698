//! The file of `-c`/`--config`: read whole, and bounded.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest file that is read; a configuration of a few hundred lines has a tenth of it.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Whether the file's name says that it is YAML. Any other is one of `KEY=VALUE` lines.
pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml"]
            .iter()
            .any(|yaml| extension.eq_ignore_ascii_case(yaml))
    })
}

/// The file's text, without a byte order mark. The error is text for the operator.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut text = read_bounded(path).map_err(|error| {
        format!(
            "cannot read the configuration file {}: {error}: check the path of -c/--config",
            path.display()
        )
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_name_says_what_a_file_is() {
        for (name, expected) in [
            ("pgstream.yaml", true),
            ("a/b.c/pgstream.YML", true),
            ("pg2webhook.env", false),
            (".env", false),
            (".yaml", false),
            ("yaml", false),
        ] {
            assert_eq!(is_yaml(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_missing_too_long_or_no_text_is_named() {
        let mut long = tempfile::NamedTempFile::new().unwrap();
        long.write_all(&vec![b'#'; 1024 * 1024 + 1]).unwrap();
        let mut binary = tempfile::NamedTempFile::new().unwrap();
        binary.write_all(b"\xff\xfe").unwrap();
        for (path, why) in [
            (Path::new("/nonexistent/pgstream.env"), "No such file"),
            (long.path(), "longer than 1 MiB"),
            (binary.path(), "UTF-8"),
        ] {
            let error = read(path).unwrap_err();
            assert!(
                error.contains(&path.display().to_string())
                    && error.contains("--config")
                    && error.contains(why),
                "{error}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\u{feff}A=1".as_bytes()).unwrap();
        assert_eq!(read(file.path()).unwrap(), "A=1");
    }
}
