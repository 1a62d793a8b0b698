//! Names of replication slots: what PostgreSQL allows, and the one a database gets where none is given.

/// The longest name, in bytes: PostgreSQL's `NAMEDATALEN` less the final zero.
const MAX_BYTES: usize = 63;

/// Refuses a name that PostgreSQL would refuse, with text for the operator.
///
/// # Errors
///
/// Says what is allowed.
pub fn validate(name: &str) -> Result<(), String> {
    if !name.is_empty() && name.len() <= MAX_BYTES && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a slot name: PostgreSQL allows 1 to {MAX_BYTES} lower-case letters (a-z), digits and underscores"
    ))
}

/// The name for a database where none is given: `pgstream_<dbname>_slot`.
///
/// Slots allow fewer characters than databases: letters become lower case, anything else an underscore, and a long
/// name is cut.
pub fn default_slot_name(dbname: &str) -> String {
    const BEFORE: &str = "pgstream_";
    const BEHIND: &str = "_slot";
    let middle: String = dbname
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if is_allowed(c) { c } else { '_' })
        .take(MAX_BYTES - BEFORE.len() - BEHIND.len())
        .collect();
    format!("{BEFORE}{middle}{BEHIND}")
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_postgresql_allows() {
        assert_eq!(validate("pgstream_tutorial_slot"), Ok(()));
        assert_eq!(validate(&"x".repeat(63)), Ok(()));
        for name in ["", "Slot", "my-slot", "sløt", &"x".repeat(64)] {
            let error = validate(name).unwrap_err();
            assert!(error.contains("1 to 63 lower-case letters"), "{error}");
        }
    }

    #[test]
    fn defaults() {
        for (dbname, expected) in [
            ("postgres", "pgstream_postgres_slot"),
            ("My-Shop", "pgstream_my_shop_slot"),
            ("ü", "pgstream___slot"),
        ] {
            assert_eq!(default_slot_name(dbname), expected);
        }
    }

    proptest! {
        #[test]
        fn the_default_of_any_database_is_allowed(dbname in ".*") {
            prop_assert_eq!(validate(&default_slot_name(&dbname)), Ok(()));
        }
    }
}
