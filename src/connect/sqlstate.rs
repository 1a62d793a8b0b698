//! SQLSTATEs that decide what is done about an error, and the classes of them that are treated alike. Pure.
//!
//! See [PostgreSQL Error Codes](https://www.postgresql.org/docs/current/errcodes-appendix.html).

/// A role may not do this.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// Something is used by another process, as a slot by a walsender.
pub const OBJECT_IN_USE: &str = "55006";
/// A statement took longer than it was allowed to, or was cancelled.
pub const QUERY_CANCELED: &str = "57014";
/// The server is shut down, or starts.
pub const CANNOT_CONNECT_NOW: &str = "57P03";

/// Whether the server refuses us, and no waiting changes it: authorisation, the database, a role's rights.
#[must_use]
pub fn is_refusal(code: &str) -> bool {
    is_one_of(code, &["28", "3D000", INSUFFICIENT_PRIVILEGE])
}

/// Whether it says nothing of what was asked, and may work later: connections, resources, conflicts with others, and a server
/// that is shut down, starts, or was told to end the session.
#[must_use]
pub fn is_passing(code: &str) -> bool {
    is_one_of(code, &["08", "40", "53", "57"])
}

/// Whether a code is one of these, or of these classes.
#[must_use]
pub fn is_one_of(code: &str, codes: &[&str]) -> bool {
    codes.iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_and_what_passes_are_different_things() {
        for (code, refuses, passes) in [
            ("28P01", true, false),
            ("28000", true, false),
            ("3D000", true, false),
            ("42501", true, false),
            ("42P01", false, false),
            ("57P01", false, true),
            ("57P03", false, true),
            ("53300", false, true),
            ("08006", false, true),
            ("40001", false, true),
            ("55006", false, false),
            ("XX000", false, false),
        ] {
            assert_eq!((is_refusal(code), is_passing(code)), (refuses, passes), "{code}");
        }
    }
}
