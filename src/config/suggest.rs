//! "Did you mean …?": the nearest of the known names.

/// How alike two names must be (Jaro-Winkler, 0 to 1) for one to be suggested for the other.
const ALIKE: f64 = 0.8;

/// How many letters of a short name may be wrong, missing, added or swapped with their neighbour.
const SLIPS: usize = 1;

/// The known name most like the given one, if any is alike enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, candidate)| *likeness >= ALIKE || strsim::osa_distance(&name, candidate) <= SLIPS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_alike_and_nothing_else() {
        let known = ["sslmode", "host", "connect_timeout"];
        for (name, expected) in [
            ("ssl_mode", Some("sslmode")),
            ("SSLMODE", Some("sslmode")),
            ("hst", Some("host")),
            ("ohst", Some("host")),
            ("timeout", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}
