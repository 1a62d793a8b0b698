//! The account: what was committed against what arrived.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Manner;
use crate::support::receiver::Request;
use crate::support::world::webhook_id;

/// A change of a row, or a TRUNCATE. No version is used twice and no row is deleted twice, so that no two changes are the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Change {
    action: String,
    table: String,
    old_key: Option<i64>,
    key: Option<i64>,
    version: Option<i64>,
    /// Where a TRUNCATE is: nothing else tells two of them apart.
    truncated_at: Option<String>,
}

/// What is delivered in order: a row, or a table without a key.
type Lane = (String, Option<i64>);

impl Change {
    /// Reads it out of a record of wal2json, or out of what is in `Data`.
    pub(super) fn of(record: &Value) -> Self {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        let column = |list: &str, name: &str| {
            let columns = record[list].as_array()?;
            columns.iter().find(|column| column["name"] == name)?["value"].as_i64()
        };
        let action = text("action");
        Self {
            truncated_at: (action == "T").then(|| text("lsn")),
            action,
            table: text("table"),
            old_key: column("identity", "id"),
            key: column("columns", "id"),
            version: column("columns", "version"),
        }
    }

    /// The lanes of a change of a row: two where it changes the key.
    fn lanes(&self) -> Vec<Lane> {
        let mut lanes = vec![(self.table.clone(), self.old_key.or(self.key))];
        let after = (self.table.clone(), self.key.or(self.old_key));
        if after != lanes[0] {
            lanes.push(after);
        }
        lanes
    }
}

/// Everything that was committed, and the ids that it came with.
pub(super) struct Account {
    /// The lanes of each change, and which change of each it is.
    places: HashMap<Change, Vec<(Lane, usize)>>,
    ids: Ids,
}

/// Which change came under which id, at any endpoint.
#[derive(Default)]
struct Ids {
    changes: HashMap<String, Change>,
    ids: HashMap<Change, String>,
}

/// What came to an endpoint.
pub(super) struct Figures {
    requests: usize,
    not_taken: usize,
    again: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} of them not taken; {} changes taken more than once",
            self.requests, self.not_taken, self.again
        )
    }
}

impl Account {
    /// An account of changes in commit order.
    pub(super) fn new(committed: Vec<Change>) -> Self {
        // A TRUNCATE is in all lanes of its table, those included that begin later.
        let mut tables: HashMap<String, HashSet<Lane>> = HashMap::new();
        for change in committed.iter().filter(|change| change.truncated_at.is_none()) {
            let lanes = tables.entry(change.table.clone()).or_default();
            lanes.extend(change.lanes());
        }
        let mut lengths: HashMap<Lane, usize> = HashMap::new();
        let mut places = HashMap::new();
        for change in committed {
            let lanes = match &change.truncated_at {
                Some(_) => tables.get(&change.table).into_iter().flatten().cloned().collect(),
                None => change.lanes(),
            };
            let at = lanes.into_iter().map(|lane| {
                let length = lengths.entry(lane.clone()).or_default();
                *length += 1;
                (lane, *length - 1)
            });
            let at = at.collect();
            assert!(places.insert(change.clone(), at).is_none(), "twice: {change:?}");
        }
        Self {
            places,
            ids: Ids::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many of the changes are TRUNCATEs.
    pub(super) fn truncates(&self) -> usize {
        self.places
            .keys()
            .filter(|change| change.truncated_at.is_some())
            .count()
    }

    /// Checks what came to one endpoint: nothing but what was committed, nothing before what it has to follow has been
    /// taken, each change always under the same id, and in the end all of them.
    pub(super) fn check(&mut self, who: Manner, requests: &[Arc<Request>], taken: &[bool]) -> Figures {
        // How many changes of each lane have been taken, from its first on, and how often each change was.
        let mut lanes: HashMap<&Lane, usize> = HashMap::new();
        let mut times: HashMap<Change, usize> = HashMap::new();
        for request in requests {
            let changes = changes(request);
            if let ([change], false) = (changes.as_slice(), who == Manner::Batched) {
                self.ids.note(who, &webhook_id(request), change);
            }
            let mut before = Vec::new();
            for change in &changes {
                let places = self
                    .places
                    .get(change)
                    .unwrap_or_else(|| panic!("{who:?}: never committed: {change:?}"));
                for (lane, place) in places {
                    let reached = lanes.entry(lane).or_default();
                    assert!(*place <= *reached, "{who:?}: {change:?} came too early");
                    before.push((lane, *reached));
                    *reached = (*reached).max(place + 1);
                }
            }
            if taken[request.number] {
                for change in changes {
                    *times.entry(change).or_default() += 1;
                }
            } else {
                lanes.extend(before.into_iter().rev());
            }
        }
        let lost: Vec<&Change> = self
            .places
            .keys()
            .filter(|change| !times.contains_key(change))
            .collect();
        assert!(
            lost.is_empty(),
            "{who:?}: {} changes are lost, such as {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
        Figures {
            requests: requests.len(),
            not_taken: requests.iter().filter(|request| !taken[request.number]).count(),
            again: times.values().filter(|times| **times > 1).count(),
        }
    }
}

impl Ids {
    fn note(&mut self, who: Manner, id: &str, change: &Change) {
        let of_id = self
            .changes
            .entry(id.to_owned())
            .or_insert_with(|| change.clone());
        assert_eq!(of_id, change, "{who:?}: two changes under {id}");
        let of_change = self.ids.entry(change.clone()).or_insert_with(|| id.to_owned());
        assert_eq!(*of_change, id, "{who:?}: two ids of {change:?}");
    }
}

/// The changes of a request: one, or those of a batch in their order.
fn changes(request: &Request) -> Vec<Change> {
    match &request.json()["Data"] {
        Value::Array(records) => records.iter().map(Change::of).collect(),
        record => vec![Change::of(record)],
    }
}
