//! What libpq would do for the safety of a connection and we do not: refused, since leaving it out would weaken what was asked for.

use std::path::Path;

use super::local::Local;
use super::{PgUrlError, SslMode, TlsOptions, Verification};

/// Variables of libpq, and the values that ask for no more than what is done anyway.
const VARIABLES: [(&str, &[&str]); 5] = [
    ("PGSSLCRL", &[]),
    ("PGSSLCRLDIR", &[]),
    ("PGREQUIREAUTH", &[]),
    ("PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("PGGSSENCMODE", &["disable", "prefer"]),
];

/// The old name of `sslmode=require`, and what it begins with.
const REQUIRE_SSL: (&str, u8) = ("PGREQUIRESSL", b'1');

/// Refuses what is set in the environment, and a list of revoked certificates at the usual place.
pub(super) fn refuse(options: &TlsOptions, local: &Local, revoked: Option<&Path>) -> Result<(), PgUrlError> {
    for (variable, harmless) in VARIABLES {
        let found = local.environment.get(variable);
        if found.is_some_and(|value| !harmless.iter().any(|word| value.eq_ignore_ascii_case(word))) {
            return Err(PgUrlError::UnsupportedVariable { variable });
        }
    }
    let (variable, begins) = REQUIRE_SSL;
    let is_required = local.environment.get(variable);
    let is_required = is_required.is_some_and(|value| value.as_encoded_bytes().first() == Some(&begins));
    // Another mode was written, and wins.
    if is_required && options.mode == SslMode::default() {
        return Err(PgUrlError::UnsupportedVariable { variable });
    }
    match revoked {
        Some(path) if options.verification() != Verification::Nothing => Err(PgUrlError::RevocationList {
            path: path.display().to_string(),
        }),
        _ => Ok(()),
    }
}
