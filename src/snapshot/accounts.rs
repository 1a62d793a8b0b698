//! Who needs which hold.
//!
//! Several readings may need one hold, as those of the partitions of one table do: it is released when the last of them has
//! ended. Until the pipeline is told to close it, another one may take it back.

use std::collections::HashMap;
use std::sync::Arc;

use pgstream_proto::Lsn;

use super::hand_over::Left;
use super::table::Task;
use crate::delivery::model::Hold;
use crate::event::TableKey;
use crate::pipeline::LeftOut;

/// A table's OID, and the backfill that it is read for.
pub(super) type Key = (u32, i64);
/// An endpoint, and the table whose changes are to be held for it.
pub(super) type ToHold = (Arc<str>, TableKey);

/// What is read, and what is held for it.
#[derive(Default)]
pub(super) struct Accounts {
    pub(super) running: HashMap<Key, Running>,
    holds: HashMap<i64, Account>,
    /// Holds that are not closed yet, though nothing needs them any more.
    pub(super) releasing: HashMap<i64, Releasing>,
    /// Holds that an earlier program has left, and what it has sent as rows.
    pub(super) left: Vec<Hold>,
    left_out: Vec<LeftOut>,
    /// Up to which commit each endpoint's changes were dealt with then, but for those that were to be held.
    marks: HashMap<String, Lsn>,
}

pub(super) struct Running {
    pub(super) task: Task,
    holds: Vec<i64>,
}

struct Account {
    hold: Hold,
    /// How many need it, and those who are about to.
    readings: usize,
    left_out: Vec<LeftOut>,
}

pub(super) struct Releasing {
    hold: Hold,
    /// Nothing once the pipeline was told to close it. Until then it may be taken back.
    left_out: Option<Vec<LeftOut>>,
}

impl Accounts {
    /// What an earlier program has left.
    pub(super) fn new(left: Left) -> Self {
        let Left {
            holds,
            left_out,
            marks,
        } = left;
        Self {
            left: holds,
            left_out,
            marks,
            ..Self::default()
        }
    }

    /// These begin to be read, with these holds. Returns them.
    pub(super) fn begin(&mut self, tasks: Vec<(Task, Vec<ToHold>)>, holds: &[Hold]) -> Vec<Task> {
        let mut begun = Vec::with_capacity(tasks.len());
        for (task, held) in tasks {
            let of_task = holds.iter().filter(|hold| {
                held.iter()
                    .any(|(endpoint, table)| *endpoint == hold.endpoint && *table == hold.table)
            });
            let ids = of_task.map(|hold| {
                let account = self.account(hold.clone());
                account.readings += 1;
                hold.id
            });
            let holds = ids.collect();
            let running = Running {
                task: task.clone(),
                holds,
            };
            self.running.insert(task.key(), running);
            begun.push(task);
        }
        begun
    }

    /// What is held for an endpoint whose order may have been changed while something of it is held: of the same kind as that, so
    /// that no change of a table is held by two.
    pub(super) fn as_held(&self, (endpoint, table, own): (Arc<str>, TableKey, TableKey)) -> ToHold {
        let accounts = self.holds.values().map(|account| &account.hold);
        let releasing = self.releasing.values().map(|releasing| &releasing.hold);
        let mut open = accounts.chain(releasing).chain(&self.left);
        match open.find(|hold| hold.endpoint == endpoint) {
            Some(hold) if hold.table == Hold::ALL => (endpoint, Hold::ALL),
            Some(_) => (endpoint, own),
            None => (endpoint, table),
        }
    }

    /// Counts those of these that are open as needed by one more. None if one of them is being closed.
    pub(super) fn pin(&mut self, wanted: &[ToHold]) -> Option<Vec<i64>> {
        let is_wanted = |hold: &Hold| {
            wanted
                .iter()
                .any(|(endpoint, table)| *endpoint == hold.endpoint && *table == hold.table)
        };
        let mut releasing = self.releasing.values().filter(|one| is_wanted(&one.hold));
        if releasing.any(|one| one.left_out.is_none()) {
            return None;
        }
        for (id, one) in self.releasing.extract_if(|_, one| is_wanted(&one.hold)) {
            let account = Account {
                hold: one.hold,
                readings: 0,
                left_out: one.left_out.unwrap_or_default(),
            };
            self.holds.insert(id, account);
        }
        let mut pinned = Vec::new();
        for (id, account) in self
            .holds
            .iter_mut()
            .filter(|(_, account)| is_wanted(&account.hold))
        {
            account.readings += 1;
            pinned.push(*id);
        }
        Some(pinned)
    }

    /// One less needs it. Returns whether nobody does any more.
    pub(super) fn unpin(&mut self, id: i64) -> bool {
        let Some(account) = self.holds.get_mut(&id) else {
            return false;
        };
        account.readings -= 1;
        if account.readings > 0 {
            return false;
        }
        if let Some(Account { hold, left_out, .. }) = self.holds.remove(&id) {
            let left_out = Some(left_out);
            self.releasing.insert(id, Releasing { hold, left_out });
        }
        true
    }

    /// Takes up the holds that an earlier program has left and that no reading needs, to be unpinned.
    pub(super) fn take_orphans(&mut self) -> Vec<i64> {
        let left = std::mem::take(&mut self.left);
        let orphans = left.into_iter().filter(|hold| !self.holds.contains_key(&hold.id));
        let orphans: Vec<Hold> = orphans.collect();
        orphans
            .into_iter()
            .map(|hold| {
                let id = hold.id;
                let account = self.account(hold);
                account.readings += 1;
                id
            })
            .collect()
    }

    /// The account of a hold. Of one that an earlier program has left, it is known what that has sent as rows.
    fn account(&mut self, hold: Hold) -> &mut Account {
        let of_endpoint = self.left_out.iter().filter(|one| one.endpoint == hold.endpoint);
        let left_out: Vec<LeftOut> = of_endpoint.cloned().collect();
        self.holds.entry(hold.id).or_insert(Account {
            hold,
            readings: 0,
            left_out,
        })
    }

    /// A reading ends. Returns the holds that nobody needs any more.
    pub(super) fn end(&mut self, key: Key, left_out: &[LeftOut]) -> Vec<i64> {
        let Some(running) = self.running.remove(&key) else {
            return Vec::new();
        };
        let mut released = Vec::new();
        for id in running.holds {
            if let Some(account) = self.holds.get_mut(&id) {
                let endpoint = &account.hold.endpoint;
                let of_endpoint = left_out.iter().filter(|one| one.endpoint == *endpoint);
                account.left_out.extend(of_endpoint.cloned());
            }
            if self.unpin(id) {
                released.push(id);
            }
        }
        released
    }

    /// A hold that is to be closed, unless it was taken back; and up to where everything has to be settled before.
    pub(super) fn is_releasing(&self, id: i64) -> Option<(Hold, Lsn)> {
        let hold = &self.releasing.get(&id)?.hold;
        let mark = self.marks.get(&*hold.endpoint).copied();
        Some((hold.clone(), mark.unwrap_or(Lsn::ZERO)))
    }

    /// It is closed from here on, unless it was taken back. Returns what is left out.
    pub(super) fn closes(&mut self, id: i64) -> Option<Vec<LeftOut>> {
        self.releasing.get_mut(&id)?.left_out.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use proptest::sample::subsequence;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::pipeline::Audience;
    use crate::snapshot::model::Relation;
    use crate::store::snapshot::TableRow;

    fn task(oid: u32) -> Task {
        Task {
            table: Relation {
                oid,
                ..Relation::sample("s", "t")
            },
            row: TableRow::sample(),
            audience: Audience::Endpoint("a".into()),
            cancelled: CancellationToken::new(),
        }
    }

    fn hold(id: i64, endpoint: &str) -> Hold {
        Hold {
            id,
            endpoint: endpoint.into(),
            table: TableKey(7),
            from: Lsn::ZERO,
        }
    }

    fn left_out(endpoint: &str) -> LeftOut {
        LeftOut {
            hash: 1,
            endpoint: endpoint.into(),
            sees: "5:5:".parse().unwrap(),
            until: Lsn::new(9),
        }
    }

    #[test]
    fn a_hold_is_released_with_all_that_is_left_out_when_the_last_reading_ends() {
        let (a, b) = (hold(1, "a"), hold(2, "b"));
        let held = |hold: &Hold| (Arc::clone(&hold.endpoint), hold.table);
        let mut accounts = Accounts {
            left: vec![a.clone(), hold(3, "c")],
            ..Accounts::default()
        };
        accounts.begin(
            vec![(task(10), vec![held(&a), held(&b)]), (task(11), vec![held(&a)])],
            &[a.clone(), b.clone()],
        );
        assert_eq!(accounts.take_orphans(), [3]);
        assert!(accounts.unpin(3), "nobody needs what was left of it");
        assert_eq!(accounts.end((10, 0), &[left_out("a"), left_out("b")]), [2]);
        assert_eq!(accounts.closes(2), Some(vec![left_out("b")]));
        assert_eq!(accounts.pin(&[held(&b)]), None, "it is being closed");
        assert_eq!(accounts.end((11, 0), &[left_out("a")]), [1]);
        // Taken back before it is closed, it keeps what is left out.
        assert!(accounts.is_releasing(1).is_some());
        assert_eq!(accounts.pin(&[held(&a)]), Some(vec![1]));
        assert!(accounts.is_releasing(1).is_none());
        assert_eq!(accounts.closes(1), None);
        assert!(accounts.unpin(1));
        assert_eq!(accounts.closes(1), Some(vec![left_out("a"), left_out("a")]));
        assert!(accounts.end((11, 0), &[]).is_empty() && accounts.holds.is_empty());
    }

    #[test]
    fn while_something_is_held_for_an_endpoint_more_is_held_alike() {
        let mut accounts = Accounts::default();
        let (all, table, other) = (Hold::ALL, TableKey(7), TableKey(8));
        let as_held = |accounts: &Accounts, table| accounts.as_held(("a".into(), table, other)).1;
        assert_eq!((as_held(&accounts, all), as_held(&accounts, other)), (all, other));
        let held = hold(1, "a");
        accounts.begin(
            vec![(task(10), vec![("a".into(), table)])],
            std::slice::from_ref(&held),
        );
        assert_eq!(
            (as_held(&accounts, all), as_held(&accounts, other)),
            (other, other)
        );
        let mut accounts = Accounts::default();
        let held = Hold { table: all, ..held };
        accounts.begin(vec![(task(10), vec![("a".into(), all)])], &[held]);
        assert_eq!((as_held(&accounts, all), as_held(&accounts, other)), (all, all));
    }

    /// What may happen, one after the other.
    #[derive(Debug, Clone)]
    enum Step {
        /// This table begins to be read, for these endpoints.
        Begin(u32, Vec<usize>),
        /// It was read, and something is left out because of it.
        End(u32),
        /// What comes before the hold of this endpoint is settled.
        Close(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4_u32, subsequence(vec![0, 1, 2], 1..3))
                .prop_map(|(table, endpoints)| Step::Begin(table, endpoints)),
            (0..4_u32).prop_map(Step::End),
            (0..3_usize).prop_map(Step::Close),
        ];
        proptest::collection::vec(step, 0..60)
    }

    const ENDPOINTS: [&str; 3] = ["a", "b", "c"];

    proptest! {
        /// The naive model: who is being read, for whom, and what was left out since each hold was opened.
        #[test]
        fn a_hold_is_open_for_as_long_as_anybody_needs_it(steps in steps()) {
            let mut accounts = Accounts::default();
            let mut running: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            // The hold of each endpoint that is open, and how much was left out since.
            let mut open: BTreeMap<usize, (i64, usize)> = BTreeMap::new();
            let mut ids = 0;
            for step in steps {
                match step {
                    Step::Begin(table, endpoints) if !running.contains_key(&table) => {
                        let wanted: Vec<ToHold> = endpoints
                            .iter()
                            .map(|endpoint| (ENDPOINTS[*endpoint].into(), TableKey(7)))
                            .collect();
                        let pinned = accounts.pin(&wanted).expect("closing takes no time here");
                        let holds: Vec<Hold> = endpoints
                            .iter()
                            .map(|endpoint| {
                                let (id, _) = open.entry(*endpoint).or_insert_with(|| {
                                    ids += 1;
                                    (ids, 0)
                                });
                                hold(*id, ENDPOINTS[*endpoint])
                            })
                            .collect();
                        accounts.begin(vec![(task(table), wanted)], &holds);
                        for id in pinned {
                            prop_assert!(!accounts.unpin(id), "the reading needs it");
                        }
                        running.insert(table, endpoints);
                    }
                    Step::Begin(..) => {}
                    Step::End(table) => {
                        let left_out = ENDPOINTS.map(left_out);
                        let released = accounts.end((table, 0), &left_out);
                        let endpoints = running.remove(&table).unwrap_or_default();
                        for endpoint in &endpoints {
                            open.get_mut(endpoint).expect("it is open").1 += 1;
                        }
                        let is_needed = |endpoint: &usize| running.values().any(|of| of.contains(endpoint));
                        let expected: BTreeSet<i64> = endpoints
                            .iter()
                            .filter(|endpoint| !is_needed(endpoint))
                            .map(|endpoint| open[endpoint].0)
                            .collect();
                        prop_assert_eq!(BTreeSet::from_iter(released), expected);
                    }
                    Step::Close(endpoint) => {
                        let Some((id, left_out)) = open.get(&endpoint).copied() else {
                            continue;
                        };
                        let is_needed = running.values().any(|of| of.contains(&endpoint));
                        let closed = accounts.closes(id);
                        prop_assert_eq!(closed.is_some(), !is_needed);
                        if let Some(closed) = closed {
                            prop_assert_eq!(closed.len(), left_out, "nothing that was left out is forgotten");
                            accounts.releasing.remove(&id);
                            open.remove(&endpoint);
                        }
                    }
                }
                for (table, endpoints) in &running {
                    let held = &accounts.running[&(*table, 0)].holds;
                    let expected: BTreeSet<i64> = endpoints.iter().map(|endpoint| open[endpoint].0).collect();
                    prop_assert_eq!(&BTreeSet::from_iter(held.iter().copied()), &expected);
                    prop_assert!(expected.iter().all(|id| accounts.holds.contains_key(id)));
                }
            }
        }
    }
}
