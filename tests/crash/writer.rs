//! Those who write: sessions with rows of their own, changed in every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use pgstream::demo::cluster::Cluster;

use crate::support::world::Sql;

/// Sessions that write.
const WRITERS: i64 = 3;
/// Numbers of one writer: keys and versions.
const SPAN: i64 = 1_000_000_000;
/// Rows of a COPY.
const COPIED: i64 = 50;
/// Rows of a writer in the table that is truncated and altered now and then.
const PADS: i64 = 20;
/// Rows of a big transaction, each changed twice.
const MANY: i64 = 1_000;

/// Sessions that write until they are told to stop.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(super) fn start(cluster: &Cluster, rng: &mut Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..WRITERS)
            .map(|number| {
                let mut writer = Writer {
                    sql: Sql::open(cluster, "postgres"),
                    rng: Rng::with_seed(rng.u64(..)),
                    last: number * SPAN,
                    rows: Vec::new(),
                };
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        writer.write();
                        thread::sleep(Duration::from_millis(writer.rng.u64(..20)));
                    }
                })
            })
            .collect();
        Self { stop, threads }
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

struct Writer {
    sql: Sql,
    rng: Rng,
    /// The last number that was used, as a key or a version.
    last: i64,
    /// The keys of the rows there are.
    rows: Vec<i64>,
}

impl Writer {
    /// Writes one transaction, and sometimes takes it back.
    fn write(&mut self) {
        // Alone in their transactions: they wait for everybody, and nobody must wait for them meanwhile.
        if self.rng.u8(..100) == 0 {
            let end = if self.rng.u8(..4) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            let statement = self.whole_table();
            return self.sql.run(&format!("BEGIN; {statement}; {end}"));
        }
        let changes = match self.rng.u8(..10) {
            0..6 => 1,
            _ => self.rng.usize(2..10),
        };
        let before = self.rows.clone();
        let mut statements = String::new();
        if self.rng.u16(..300) == 0 {
            statements += &self.many();
        }
        for _ in 0..changes {
            statements += &self.change();
        }
        let end = if self.rng.u8(..10) == 0 {
            self.rows = before;
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        self.sql.run(&format!("BEGIN; {statements} {end}"));
    }

    /// The statement of a random change.
    fn change(&mut self) -> String {
        let version = self.next(1);
        match (self.rng.u8(..100), self.row()) {
            (0..30, Some(at)) => {
                let key = self.rows[at];
                format!("UPDATE items SET version = {version} WHERE id = {key};")
            }
            (30..42, Some(at)) => {
                let (old, new) = (self.rows[at], self.next(1));
                self.rows[at] = new;
                format!("UPDATE items SET id = {new}, version = {version} WHERE id = {old};")
            }
            (42..55, Some(at)) => {
                let key = self.rows.swap_remove(at);
                format!("DELETE FROM items WHERE id = {key};")
            }
            (55..60, _) => format!("INSERT INTO notes VALUES ({version});"),
            (62..68, _) => {
                let key = self.rng.i64(..PADS) + self.last / SPAN * SPAN;
                format!(
                    "INSERT INTO pads VALUES ({key}, {version})
                     ON CONFLICT (id) DO UPDATE SET version = excluded.version;"
                )
            }
            (60..62, _) => {
                let first = self.next(COPIED);
                self.rows.extend(first..first + COPIED);
                let program = format!(
                    r#"seq {first} {} | awk ''{{ print $1 "\t" $1 }}''"#,
                    first + COPIED - 1
                );
                format!("COPY items (id, version) FROM PROGRAM '{program}';")
            }
            _ => {
                let key = self.next(1);
                self.rows.push(key);
                let filler = self.rng.usize(..500);
                format!("INSERT INTO items VALUES ({key}, {version}, repeat('x', {filler}));")
            }
        }
    }

    /// The statement of a change of a whole table.
    fn whole_table(&mut self) -> &'static str {
        match self.rng.u8(..4) {
            0 => "ALTER TABLE pads ADD COLUMN IF NOT EXISTS extra text DEFAULT 'x'",
            1 => "ALTER TABLE pads DROP COLUMN IF EXISTS extra",
            _ => "TRUNCATE pads",
        }
    }

    /// The statements of a big transaction. Its rows are not changed again.
    fn many(&mut self) -> String {
        let (first, versions) = (self.next(MANY), self.next(MANY));
        let last = first + MANY - 1;
        format!(
            "INSERT INTO items SELECT n, n, repeat('x', 300) FROM generate_series({first}, {last}) n;
             UPDATE items SET version = id - {first} + {versions} WHERE id BETWEEN {first} AND {last};"
        )
    }

    /// The first of so many numbers that were not used before.
    fn next(&mut self, count: i64) -> i64 {
        let first = self.last + 1;
        self.last += count;
        first
    }

    /// Where in `rows` a random row is.
    fn row(&mut self) -> Option<usize> {
        (!self.rows.is_empty()).then(|| self.rng.usize(..self.rows.len()))
    }
}
