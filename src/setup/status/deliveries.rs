//! What there is to say of endpoints, of what was given up, and of rows that are read. Pure.

use std::fmt;

use super::document::counted;
use super::store::StoreFacts;
use crate::setup::findings::Finding;

/// The problems and hints of everything that is delivered, or is not.
pub(super) fn findings(facts: &StoreFacts, problems: &mut Vec<Finding>, hints: &mut Vec<Finding>) {
    for endpoint in facts.troubled.iter().flatten() {
        let message = format!("endpoint {} is {}", endpoint.url, endpoint.condition());
        let url = Pasted(&endpoint.url);
        let (list, remedy) = match endpoint.state.as_str() {
            "paused" => (&mut *problems, format!("run pgstream endpoints resume {url}")),
            "disabled" => (&mut *problems, format!("run pgstream endpoints enable {url}")),
            "draining" => (
                &mut *hints,
                "nothing is to be done: it takes its backlog".to_owned(),
            ),
            _ => (
                &mut *problems,
                format!("mend the receiver; pgstream endpoints show {url} tells its last error"),
            ),
        };
        list.push(Finding::new("endpoint_in_trouble", message, remedy));
    }
    if let Some(letters) = &facts.dead_letters {
        if letters.undelivered > 0 {
            problems.push(Finding::new(
                "dead_letters",
                format!(
                    "{} events could not be delivered and are dead letters",
                    counted(letters.undelivered)
                ),
                "look at them with pgstream deadletters list, and run pgstream deadletters replay or discard for those that are meant, \
                 such as --endpoint URL, or --all",
            ));
        }
        if letters.without_endpoint > 0 {
            problems.push(Finding::new(
                "unparsable_records",
                format!(
                    "{} records of the stream were delivered to nobody, because they could not be read or were skipped",
                    counted(letters.without_endpoint)
                ),
                "look at them with pgstream deadletters list and show ID, and run pgstream deadletters discard --reason unparsable, or \
                 --reason skipped",
            ));
        }
    }
    snapshot_findings(facts, problems, hints);
}

/// A word as it can be pasted into a shell.
struct Pasted<'a>(&'a str);

impl fmt::Display for Pasted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "'{}'", self.0.replace('\'', r"'\''"))
        }
    }
}

fn snapshot_findings(facts: &StoreFacts, problems: &mut Vec<Finding>, hints: &mut Vec<Finding>) {
    let Some(snapshot) = &facts.snapshot else {
        return;
    };
    for table in snapshot
        .tables
        .iter()
        .filter(|table| table.read.state == "waiting")
    {
        hints.push(Finding::new(
            "table_waiting",
            format!(
                "the rows of {}.{} wait for the first subscription to its inserts",
                table.read.schema, table.read.table
            ),
            "subscribe, or start with --snapshot-without-subscribers",
        ));
    }
    for backfill in snapshot
        .backfills
        .iter()
        .filter(|backfill| backfill.state == "failed")
    {
        let reason = backfill.tables.iter().find_map(|table| table.problem.as_deref());
        problems.push(Finding::new(
            "backfill_failed",
            format!(
                "backfill {} for {} failed{}",
                backfill.id,
                backfill.url,
                reason.map_or_else(String::new, |reason| format!(": {reason}"))
            ),
            "mend the cause and ask for it again with pgstream backfill",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        for (url, pasted) in [
            ("https://h:8443/hooks/a_b", "https://h:8443/hooks/a_b"),
            ("https://h/x?a=1&b=2", "'https://h/x?a=1&b=2'"),
            ("https://h/it's", r"'https://h/it'\''s'"),
        ] {
            assert_eq!(Pasted(url).to_string(), pasted);
        }
    }
}
