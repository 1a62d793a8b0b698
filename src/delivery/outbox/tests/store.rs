//! A store in the plainest words.

use super::*;
use crate::delivery::outbox;

impl World {
    /// What the store does, which is a transaction.
    pub(super) fn store(&mut self, work: &StoreWork) -> Kept {
        match work {
            StoreWork::Bury(dying) => {
                for one in dying {
                    self.dead.insert(one.delivery().event.id.parse().unwrap());
                    if let Some(seq) = one.delivery().row() {
                        self.rows.remove(&seq);
                    }
                }
                Kept::Plain
            }
            StoreWork::Clear { finished, touched } => {
                finished.iter().for_each(|seq| drop(self.rows.remove(seq)));
                for (seq, attempts) in touched {
                    if let Some(row) = self.rows.get_mut(seq) {
                        row.attempts = attempts.clone();
                    }
                }
                Kept::Plain
            }
            StoreWork::Append(queued) => {
                let mut seqs = Vec::new();
                for one in queued {
                    let number: u64 = one.event.id.parse().unwrap();
                    let known = self.rows.values().any(|row| row.number == number);
                    if known || one.is_settled() {
                        seqs.push(None);
                        continue;
                    }
                    self.drawn += 1;
                    let attempts = one.attempts.as_deref().cloned().unwrap_or_default();
                    self.rows.insert(self.drawn, Stored { number, attempts });
                    self.mark = Some(one.event.position).max_by_position(self.mark);
                    seqs.push(Some(self.drawn));
                }
                Kept::Appended(seqs)
            }
            StoreWork::Load { after, rows, .. } => {
                let behind: Vec<(i64, Stored)> = self
                    .rows
                    .range(after + 1..)
                    .take(*rows)
                    .map(|(seq, row)| (*seq, row.clone()))
                    .collect();
                let end = behind.len() < *rows;
                let loaded = behind.into_iter().map(|(seq, row)| Loaded {
                    seq,
                    appended_at: SystemTime::now(),
                    event: self.event(row.number),
                    attempts: row.attempts,
                });
                Kept::Loaded(loaded.collect(), end)
            }
            StoreWork::Sweep { after, keep, except } => self.sweep(*after, keep, except),
            _ => Kept::Plain,
        }
    }

    /// Looks through three rows.
    fn sweep(&mut self, after: i64, keep: &Keep, except: &[i64]) -> Kept {
        let page: Vec<(i64, u64)> = self
            .rows
            .range(after + 1..)
            .take(3)
            .map(|(seq, row)| (*seq, row.number))
            .collect();
        let mut removed = Removed::default();
        for (seq, number) in &page {
            if !except.contains(seq) && !keep("", &self.event(*number).table, action(*number)) {
                self.rows.remove(seq);
                removed.rows += 1;
                removed.bytes += 2;
            }
        }
        Kept::Swept {
            removed,
            last: page.last().map(|(seq, _)| *seq),
        }
    }
}

/// What the store answers.
pub(super) enum Kept {
    Plain,
    Appended(Vec<Option<i64>>),
    Loaded(Vec<Loaded>, bool),
    Swept { removed: Removed, last: Option<i64> },
}

impl Kept {
    pub(super) fn of(self, work: StoreWork) -> outbox::Stored {
        match (self, work) {
            (Self::Appended(seqs), StoreWork::Append(queued)) => outbox::Stored::Appended { queued, seqs },
            (Self::Loaded(rows, end), _) => outbox::Stored::Loaded { rows, end },
            (Self::Swept { removed, last }, _) => outbox::Stored::Swept { removed, last },
            (_, StoreWork::Bury(dying)) => outbox::Stored::Buried(dying),
            (_, StoreWork::Clear { finished, .. }) => outbox::Stored::Cleared(finished),
            _ => outbox::Stored::Recorded,
        }
    }
}

trait Later {
    fn max_by_position(self, other: Self) -> Self;
}

impl Later for Option<Position> {
    fn max_by_position(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) if a.is_before(&b) => Some(b),
            (Some(a), _) => Some(a),
            (None, other) => other,
        }
    }
}
