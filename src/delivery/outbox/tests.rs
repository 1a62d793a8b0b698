//! The outbox as a whole against a store, a receiver and a stream in the plainest words.

mod any;
mod scenarios;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pgstream_proto::Lsn;
use tokio::sync::Notify;

use super::*;
use crate::backoff::Backoff;
use crate::delivery::model::{Attempts, Removed};
use crate::delivery::outcome::{Outcome, Reason};
use crate::delivery::retry::Retries;
use crate::delivery::worker::{Answer, Connections, Names};
use crate::event::{Event, LaneKey, LaneKeys, Origin, Place, Position, TableKey, TableName};
use crate::progress::{Budget, Ledger, Transaction};

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// Changes of these lanes are read.
    Push(Vec<LaneKeys>),
    /// A worker comes, if it is called for.
    Begin,
    /// One of the exchanges ends.
    Finish(usize, Ending),
    /// Memory is short.
    Spill,
    /// Nobody is subscribed to deletions any more, until something is read.
    Sweep,
    /// The keeper takes its next piece of work, if it is called for.
    Take,
    /// The store has done it, or not.
    Done(StoreEnding),
    /// The timer rings, if its alarm is set.
    Ring,
    /// The program is killed and started again.
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Delivered,
    Failed,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum StoreEnding {
    /// Done, and said so.
    Done,
    /// Not done.
    Failed,
    /// Done, but nobody heard of it.
    Unheard,
}

/// A row of the store.
#[derive(Debug, Clone)]
struct Stored {
    number: u64,
    attempts: Attempts,
}

struct World {
    outbox: Outbox,
    ledger: Ledger,
    budget: Arc<Budget>,
    batch: usize,
    now: Instant,
    token: bool,
    keeper: bool,
    alarm: Option<Instant>,
    exchanges: Vec<Work>,
    work: Option<StoreWork>,
    // The store.
    rows: BTreeMap<i64, Stored>,
    drawn: i64,
    mark: Option<Position>,
    dead: HashSet<u64>,
    // The stream, and what came of it.
    read: Vec<LaneKeys>,
    settled: HashSet<u64>,
    delivered: Vec<u64>,
    /// The lane of what was refused has moved on.
    refused: HashSet<u64>,
    /// Of the deletions before this number nothing is asked any more.
    swept: u64,
    wants_deletions: Arc<AtomicBool>,
}

fn names() -> Arc<Names> {
    static NAMES: OnceLock<Arc<Names>> = OnceLock::new();
    Arc::clone(NAMES.get_or_init(|| Names::start().unwrap()))
}

fn outbox(batch: usize) -> Outbox {
    let mut settings = EndpointSettings {
        in_flight: 8,
        ..EndpointSettings::default()
    };
    settings.batch.size = batch;
    let policy = Policy {
        retry: RetryPolicy {
            backoff: Backoff::Constant {
                interval: Duration::from_secs(1),
            },
            retries: Retries::AtMost(1_000),
        },
        strict: false,
        retention: Retention {
            age: Duration::from_secs(1 << 30),
            bytes: u64::MAX,
            rows: u64::MAX,
        },
    };
    let target = Target::parse(&"http://localhost/".into()).unwrap();
    let slots = Slots::new(settings.timeout, names(), Connections::new(64, 64));
    let configured = Configured {
        settings,
        standing: Standing::Active,
        changed_at: SystemTime::UNIX_EPOCH,
    };
    Outbox::new(0, target, configured, policy, slots)
}

/// Every fifth change is a deletion.
fn action(number: u64) -> char {
    if number.is_multiple_of(5) { 'D' } else { 'I' }
}

fn position(number: u64) -> Position {
    let lsn = Lsn::new(number + 1);
    Position {
        source: 1,
        epoch: 1,
        commit_lsn: lsn,
        lsn,
    }
}

impl World {
    fn new(batch: usize) -> Self {
        Self {
            outbox: outbox(batch),
            ledger: Ledger::new(Lsn::ZERO, Arc::new(Notify::new())),
            budget: Budget::new(u64::MAX),
            batch,
            now: Instant::now(),
            token: false,
            keeper: false,
            alarm: None,
            exchanges: Vec::new(),
            work: None,
            rows: BTreeMap::new(),
            drawn: 0,
            mark: None,
            dead: HashSet::new(),
            read: Vec::new(),
            settled: HashSet::new(),
            delivered: Vec::new(),
            refused: HashSet::new(),
            swept: 0,
            wants_deletions: Arc::new(AtomicBool::new(true)),
        }
    }

    fn event(&self, number: u64) -> Event {
        Event {
            id: number.to_string(),
            table: Arc::new(TableName {
                schema: "s".into(),
                table: "t".into(),
                root: None,
            }),
            action: action(number),
            position: position(number),
            origin: Origin::Stream,
            replay_run: 0,
            place: Place {
                table: TableKey(1),
                keys: self.read[number as usize],
                key_set: None,
            },
            payload: b"{}".to_vec(),
            share: self.budget.try_take(2).unwrap(),
        }
    }

    fn push(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let deliveries: Vec<_> = numbers
            .into_iter()
            .map(|number| {
                let token = self.ledger.token(&mut Transaction::default());
                (Arc::new(self.event(number)), token)
            })
            .collect();
        let next = self.outbox.push(deliveries, self.now);
        self.follow(next);
    }

    fn follow(&mut self, next: Next) {
        self.token |= next.requeue;
        self.keeper |= next.keep;
        self.alarm = next.alarm.or(self.alarm);
        for settled in next.settled {
            if settled.token.is_none() {
                continue;
            }
            let number: u64 = settled.event.id.parse().unwrap();
            // The rule that nothing breaks: a token is settled only for what cannot be lost any more.
            let safe = self.is_unwanted(number)
                || self.delivered.contains(&number)
                || self.dead.contains(&number)
                || self.rows.values().any(|row| row.number == number)
                || self.mark.is_some_and(|mark| position(number).is_before(&mark));
            assert!(safe, "{number} is settled, and nowhere");
            self.settled.insert(number);
        }
        self.exchanges.extend(next.work);
        let mut lanes: Vec<LaneKeys> = Vec::new();
        for exchange in &self.exchanges {
            let mine: Vec<LaneKeys> = exchange.events.iter().map(|event| event.place.keys).collect();
            for keys in &mine {
                assert!(
                    !lanes.iter().any(|other| meet(*other, *keys)),
                    "two in flight for one row"
                );
            }
            lanes.extend(mine);
        }
    }

    fn finish(&mut self, which: usize, ending: Ending) {
        if self.exchanges.is_empty() {
            return;
        }
        let work = self.exchanges.swap_remove(which % self.exchanges.len());
        let numbers = work.events.iter().map(|event| event.id.parse::<u64>().unwrap());
        let outcome = match ending {
            Ending::Delivered => {
                self.delivered.extend(numbers);
                Outcome::Delivered
            }
            Ending::Failed => Outcome::retry(Reason::Status(503)),
            Ending::Refused => {
                self.refused.extend(numbers);
                Outcome::Refused { status: 400 }
            }
        };
        let answer = Answer {
            outcome,
            text: "no".to_owned(),
        };
        let next = self.outbox.finish(work, &answer, true, self.now);
        self.follow(next);
    }

    fn take(&mut self) {
        if self.keeper && self.work.is_none() {
            let (work, next) = self.outbox.store_work(self.now);
            self.work = work;
            self.follow(next);
            if self.work.is_none() {
                self.keeper = false;
                let next = self.outbox.end_keeping(self.now);
                self.follow(next);
            }
        }
    }

    fn done(&mut self, ending: StoreEnding) {
        let Some(work) = self.work.take() else { return };
        let stored = (ending != StoreEnding::Failed).then(|| self.store(&work));
        let next = match stored {
            Some(outcome) if ending == StoreEnding::Done => self.outbox.stored(outcome.of(work), self.now),
            _ => self.outbox.not_stored(work, Duration::from_secs(1), self.now),
        };
        self.follow(next);
    }

    fn is_unwanted(&self, number: u64) -> bool {
        number < self.swept && action(number) == 'D'
    }

    /// Killed and started again: what is not settled is read again, in the order of the stream.
    fn crash(&mut self) {
        if let Some(work) = self.work.take()
            && self.read.len().is_multiple_of(2)
        {
            // It was done all the same.
            self.store(&work);
        }
        self.outbox = outbox(self.batch);
        self.exchanges.clear();
        (self.token, self.keeper, self.alarm) = (false, false, None);
        let rows = self.rows.len() as u64;
        let next = self.outbox.recover(rows, rows * 2, self.mark, false, self.now);
        self.follow(next);
        let from = (0..self.read.len() as u64).find(|number| !self.settled.contains(number));
        if let Some(from) = from {
            self.push(from..self.read.len() as u64);
        }
    }

    fn ring(&mut self) {
        if let Some(at) = self.alarm.take() {
            self.now = self.now.max(at);
            let next = self.outbox.ring(at, self.now);
            self.follow(next);
        }
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.token) {
            let next = self.outbox.begin(self.now);
            self.follow(next);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(keys) => {
                self.wants_deletions.store(true, Ordering::Relaxed);
                let from = self.read.len() as u64;
                self.read.extend(keys);
                self.push(from..self.read.len() as u64);
            }
            Step::Begin => self.begin(),
            Step::Finish(which, ending) => self.finish(which, ending),
            Step::Spill => {
                let next = self.outbox.spill("memory is short", self.now);
                self.follow(next);
            }
            Step::Sweep => {
                self.swept = self.read.len() as u64;
                self.wants_deletions.store(false, Ordering::Relaxed);
                let wanted = Arc::clone(&self.wants_deletions);
                let keep: Keep =
                    Arc::new(move |_, _, action| action != 'D' || wanted.load(Ordering::Relaxed));
                let next = self.outbox.sweep(&keep, self.now);
                self.follow(next);
            }
            Step::Take => self.take(),
            Step::Done(ending) => self.done(ending),
            Step::Ring => self.ring(),
            Step::Crash => self.crash(),
        }
    }

    /// Everybody does what is asked of them, until nothing more happens.
    fn calm_down(&mut self) {
        for _ in 0..100_000 {
            let busy = self.token || self.keeper || self.work.is_some() || !self.exchanges.is_empty();
            self.begin();
            self.finish(0, Ending::Delivered);
            self.take();
            self.done(StoreEnding::Done);
            if !busy {
                let all = (0..self.read.len() as u64)
                    .all(|number| self.settled.contains(&number) || self.dead.contains(&number));
                if all && self.rows.is_empty() {
                    return;
                }
                assert!(
                    self.alarm.is_some(),
                    "nobody comes any more: {:?} in the store",
                    self.rows
                );
                self.ring();
            }
        }
        panic!("it never ends: {:?} in the store", self.rows);
    }

    fn check_order(&self) {
        let mut first: HashMap<u64, usize> = HashMap::new();
        for (at, number) in self.delivered.iter().enumerate() {
            first.entry(*number).or_insert(at);
        }
        for (later, keys) in self.read.iter().enumerate() {
            for (earlier, before) in self.read[..later].iter().enumerate() {
                // What was discarded may come after all if the program is killed before its row is deleted.
                let gone = self.refused.contains(&(earlier as u64)) || self.is_unwanted(earlier as u64);
                if !meet(*before, *keys) || gone {
                    continue;
                }
                let (Some(a), Some(b)) = (first.get(&(earlier as u64)), first.get(&(later as u64))) else {
                    continue;
                };
                assert!(a < b, "{later} was delivered before {earlier}");
            }
        }
    }
}

/// Whether two changes touch a common row.
fn meet(a: LaneKeys, b: LaneKeys) -> bool {
    let rows = |keys| match keys {
        LaneKeys::Row(row) => vec![row],
        LaneKeys::Moved(from, to) => vec![from, to],
        LaneKeys::Table => Vec::new(),
    };
    a == LaneKeys::Table || b == LaneKeys::Table || rows(a).iter().any(|row| rows(b).contains(row))
}
