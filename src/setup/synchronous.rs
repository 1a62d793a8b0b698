//! Whether our walsender counts as a synchronous standby: then commits wait for webhooks.
//!
//! Pure. Reads `synchronous_standby_names` as the server does, and says what it should be instead.

use super::findings::Finding;

/// The states of a walsender that transactions wait for, or may have to.
const COUNTED: [&str; 3] = ["sync", "quorum", "potential"];

/// A parsed `synchronous_standby_names`.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    /// `FIRST` or `ANY`.
    method: &'static str,
    number: usize,
    names: Vec<String>,
}

/// What there is to say of it: of our walsender's state, as far as it is known, and of its name.
pub fn finding(
    sync_state: Option<&str>,
    setting: &str,
    application_name: &str,
    standbys: &[String],
) -> Option<Finding> {
    let names = parse(setting);
    let is_counted = sync_state.is_some_and(is_counted);
    if !is_counted && !names.mean(application_name) {
        return None;
    }
    let how = match sync_state.filter(|_| is_counted) {
        Some(state) => format!("counts as a synchronous standby (sync_state is {state})"),
        None => "would count as a synchronous standby".to_owned(),
    };
    let message = format!(
        "the walsender of pgstream (application_name {application_name}) {how}, since synchronous_standby_names is \
         '{setting}': commits of the server wait for webhooks to be delivered"
    );
    Some(Finding::new(
        "synchronous_standby",
        message,
        format!(
            "run {} and then SELECT pg_reload_conf()",
            statement(&names, application_name, standbys)
        ),
    ))
}

/// Whether this setting means a walsender of this name.
#[must_use]
pub fn is_meant(setting: &str, application_name: &str) -> bool {
    parse(setting).mean(application_name)
}

impl Names {
    fn mean(&self, application_name: &str) -> bool {
        self.names.iter().any(|name| is_named(name, application_name))
    }
}

/// Whether transactions wait for a walsender in this state, or may have to.
#[must_use]
pub fn is_counted(sync_state: &str) -> bool {
    COUNTED.contains(&sync_state)
}

/// Names the others, and where all of them were meant, those that are there.
fn statement(names: &Names, application_name: &str, standbys: &[String]) -> String {
    let others = |names: &[String]| -> Vec<String> {
        let others = names.iter().filter(|name| !is_named(name, application_name));
        others.cloned().collect()
    };
    let mut named = others(&names.names);
    if named.is_empty() {
        named = others(standbys);
    }
    let value = if named.is_empty() {
        String::new()
    } else {
        let number = names.number.min(named.len());
        let quoted = named
            .iter()
            .map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        format!(
            "{} {number} ({})",
            names.method,
            quoted.collect::<Vec<_>>().join(", ")
        )
    };
    format!(
        "ALTER SYSTEM SET synchronous_standby_names = '{}'",
        value.replace('\'', "''")
    )
}

/// As the server compares: in any case, and `*` is everybody.
fn is_named(name: &str, application_name: &str) -> bool {
    name == "*" || name.eq_ignore_ascii_case(application_name)
}

/// `a, b`, `2 (a, b)`, `FIRST 2 (a, b)` or `ANY 2 (a, b)`, names in quotes or not.
fn parse(setting: &str) -> Names {
    let (method, list) = match setting.split_once('(') {
        Some((method, list)) if !method.contains('"') => (method, list.trim_end().trim_end_matches(')')),
        _ => ("", setting),
    };
    let is_any = method
        .trim_start()
        .get(..3)
        .is_some_and(|word| word.eq_ignore_ascii_case("any"));
    let number = method
        .split_whitespace()
        .last()
        .and_then(|number| number.parse().ok());
    Names {
        method: if is_any { "ANY" } else { "FIRST" },
        number: number.unwrap_or(1),
        names: items(list),
    }
}

/// The items of a list setting: separated by commas, an odd one in double quotes.
pub(super) fn items(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        let item = items
            .last_mut()
            .expect("the list of items begins with one and only grows");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                item.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(String::new()),
            c if c.is_whitespace() && !quoted => {}
            c => item.push(c),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_meant_and_what_mends_it() {
        let standbys = ["replica1".to_owned(), "pgstream".to_owned()];
        for (setting, remedy) in [
            ("", None),
            ("replica1", None),
            ("FIRST 2 (replica1, \"odd (one)\")", None),
            ("*", Some("'FIRST 1 (\"replica1\")'")),
            ("PGSTREAM", Some("'FIRST 1 (\"replica1\")'")),
            ("any 2 (a, pgstream, b)", Some("'ANY 2 (\"a\", \"b\")'")),
            ("2 (a, \"*\")", Some("'FIRST 1 (\"a\")'")),
            ("\"it's\", pgstream", Some("'FIRST 1 (\"it''s\")'")),
        ] {
            let found = finding(None, setting, "pgstream", &standbys);
            assert_eq!(found.is_some(), remedy.is_some(), "{setting}");
            let (Some(found), Some(remedy)) = (found, remedy) else {
                continue;
            };
            let expected = format!(
                "run ALTER SYSTEM SET synchronous_standby_names = {remedy} and then SELECT pg_reload_conf()"
            );
            assert_eq!(found.remedy, expected);
        }
    }

    #[test]
    fn without_another_standby_nobody_is_waited_for() {
        let found = finding(Some("sync"), "*", "pgstream", &[]).unwrap();
        assert!(found.message.contains("sync_state is sync"), "{found:?}");
        assert!(
            found.remedy.contains("synchronous_standby_names = '' and"),
            "{found:?}"
        );
        assert_eq!(finding(Some("async"), "other", "pgstream", &[]), None);
    }
}
