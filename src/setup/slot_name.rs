//! Names of replication slots.

use super::SetupError;

/// The longest name of a slot, in bytes: PostgreSQL's `NAMEDATALEN` less the final zero.
pub const MAX_BYTES: usize = 63;

/// The name of the slot for this database where none is given: `pgstream_<dbname>_slot`.
///
/// Slots allow fewer characters than databases: letters become lower case, anything else an underscore, and a long
/// name is cut.
#[must_use]
pub fn default_slot_name(dbname: &str) -> String {
    const PREFIX: &str = "pgstream_";
    const SUFFIX: &str = "_slot";
    let middle: String = dbname
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if is_allowed(c) { c } else { '_' })
        .take(MAX_BYTES - PREFIX.len() - SUFFIX.len())
        .collect();
    format!("{PREFIX}{middle}{SUFFIX}")
}

/// Checks a name that the operator gave.
///
/// # Errors
/// [`SetupError::SlotName`]
pub fn validate(name: &str) -> Result<(), SetupError> {
    if !name.is_empty() && name.len() <= MAX_BYTES && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(SetupError::SlotName {
        name: name.to_owned(),
    })
}

fn is_allowed(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_are_always_valid() {
        let long = "d".repeat(63);
        let cut = format!("pgstream_{}_slot", "d".repeat(49));
        for (dbname, expected) in [
            ("postgres", "pgstream_postgres_slot"),
            ("My-App.v2", "pgstream_my_app_v2_slot"),
            ("größe", "pgstream_gr__e_slot"),
            ("", "pgstream__slot"),
            (&long, &cut),
        ] {
            let name = default_slot_name(dbname);
            assert_eq!(name, expected);
            validate(&name).unwrap();
        }
    }

    #[test]
    fn names_are_accepted_or_refused() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        for name in ["a", "pgstream_1_slot", "_", &longest] {
            validate(name).unwrap();
        }
        for name in ["", "Upper", "with-dash", "dot.ted", "ü", "a b", &too_long] {
            let error = validate(name).unwrap_err();
            assert!(error.to_string().contains("lower-case letters"), "{error}");
        }
    }
}
