//! A table whose rows and versions of rows have numbers of their own, sessions that write to it, and what an endpoint makes of
//! what it gets.
//!
//! Every row ever inserted has a number (`born`), and so has every version of it (`v`). So what an endpoint gets is exact if
//! each `born` is inserted once and each `v` comes once; and complete if what it makes of that is the table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::database::SLOT;
use super::program::Program;
use super::receiver::Request;
use super::sessions;
use super::world::{Sql, World, webhook_id};

const SESSIONS: usize = 3;
/// A table with rows, and what the sessions do to it.
pub(crate) const SET_UP: &str = "
    CREATE SCHEMA test;
    CREATE SEQUENCE test.numbers;
    CREATE TABLE t (id bigint PRIMARY KEY, born bigint NOT NULL, v bigint NOT NULL, pad text);
    INSERT INTO t SELECT n, nextval('test.numbers'), nextval('test.numbers'), repeat('x', 200)
      FROM generate_series(1, 3000) AS n;
    CREATE FUNCTION test.step() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        dice int := (random() * 99)::int;
        k bigint := (random() * 3999)::bigint + 1;
        n bigint := nextval('test.numbers');
    BEGIN
        IF dice < 30 THEN
            INSERT INTO t VALUES (k, n, nextval('test.numbers'), repeat('y', 100)) ON CONFLICT DO NOTHING;
        ELSIF dice < 60 THEN
            UPDATE t SET v = n WHERE id = k;
        ELSIF dice < 80 THEN
            DELETE FROM t WHERE id = k;
        ELSIF dice < 90 THEN
            -- Another key.
            UPDATE t SET id = 4000 + n, v = n WHERE id = k;
        ELSE
            -- A part that is undone.
            BEGIN
                DELETE FROM t WHERE id BETWEEN k AND k + 10;
                RAISE EXCEPTION 'undone';
            EXCEPTION WHEN raise_exception THEN
                UPDATE t SET v = n WHERE id = k + 1;
            END;
        END IF;
    END $$";

/// Waits until so many transactions more have ended.
pub(crate) fn wait_for_more(done: &AtomicUsize, count: usize) {
    sessions::wait_until_done(done, done.load(Ordering::Relaxed) + count);
}

pub(crate) fn number(row: &Value, name: &str) -> i64 {
    let columns = row.as_array().into_iter().flatten();
    let value = columns.clone().find(|column| column["name"] == name);
    value
        .and_then(|column| column["value"].as_i64())
        .unwrap_or_else(|| panic!("{name} of {row}"))
}

/// What an endpoint makes of what it gets: the version of each row by its key.
pub(crate) fn folded(requests: &[Arc<Request>]) -> BTreeMap<i64, i64> {
    let mut rows = BTreeMap::new();
    for request in requests {
        let change = &request.json()["Data"];
        match change["action"].as_str().unwrap() {
            "I" => {
                rows.insert(number(&change["columns"], "id"), number(&change["columns"], "v"));
            }
            "U" => {
                rows.remove(&number(&change["identity"], "id"));
                rows.insert(number(&change["columns"], "id"), number(&change["columns"], "v"));
            }
            "D" => {
                rows.remove(&number(&change["identity"], "id"));
            }
            _ => rows.clear(),
        }
    }
    rows
}

/// The same of the table.
pub(crate) fn table(sql: &mut Sql) -> BTreeMap<i64, i64> {
    let rows: Vec<String> = sql.values("SELECT id || ' ' || v FROM t");
    rows.iter()
        .map(|row| row.split_once(' ').unwrap())
        .map(|(id, v)| (id.parse().unwrap(), v.parse().unwrap()))
        .collect()
}

pub(crate) fn assert_same(folded: &BTreeMap<i64, i64>, table: &BTreeMap<i64, i64>) {
    let difference: Vec<_> = folded
        .iter()
        .map(|row| ("has", row))
        .filter(|(_, (id, v))| table.get(id) != Some(v))
        .chain(
            table
                .iter()
                .map(|row| ("lacks", row))
                .filter(|(_, (id, v))| folded.get(id) != Some(v)),
        )
        .take(10)
        .collect();
    assert!(difference.is_empty(), "the endpoint {difference:?}");
}

pub(crate) fn subscribe(sql: &mut Sql, url: &str, events: &str) {
    sql.run(&format!(
        "INSERT INTO pgstream.webhook_subscriptions (url, schema_name, table_name, event_types)
         VALUES ('{url}', 'public', 't', '{{{events}}}')"
    ));
}

pub(crate) fn world() -> World {
    let mut world = World::new(&[("max_prepared_transactions", "5"), ("deadlock_timeout", "100ms")]);
    world.sql.run(SET_UP);
    world
}

/// With sessions that write all along, does `then`; afterwards what was written is delivered.
pub(crate) fn while_writing(world: &mut World, then: impl FnOnce(&World, &mut Sql, &AtomicUsize)) {
    let (ended, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut sql = Sql::open(&world.cluster, "postgres");
    thread::scope(|scope| {
        for _ in 0..SESSIONS {
            scope.spawn(|| sessions::write(&world.cluster, "2s", &done, |_| !ended.load(Ordering::Relaxed)));
        }
        // Whatever becomes of it, the others must not write for ever.
        let end = scopeguard(&ended);
        wait_for_more(&done, 100);
        then(world, &mut sql, &done);
        drop(end);
    });
    world.sql.wait_until_delivered();
}

/// Ends the writing when it is dropped.
fn scopeguard(ended: &AtomicBool) -> impl Drop + '_ {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    End(ended)
}

/// Whatever came twice is the same: one body an id.
pub(crate) fn assert_one_body_an_id(requests: &[Arc<Request>]) -> usize {
    let mut bodies: HashMap<String, BTreeSet<String>> = HashMap::new();
    for request in requests {
        let mut change = request.json()["Data"].clone();
        // A row that is read again is of another moment, and the same.
        change["timestamp"] = Value::Null;
        bodies
            .entry(webhook_id(request))
            .or_default()
            .insert(change.to_string());
    }
    let odd: Vec<_> = bodies
        .values()
        .filter(|bodies| bodies.len() > 1)
        .take(3)
        .collect();
    assert!(odd.is_empty(), "one id, two changes: {odd:?}");
    bodies.len()
}

/// Three times, starts the program with these settings and kills it when some more requests of those that are counted have come.
pub(crate) fn kill_at_random_moments(
    world: &World,
    settings: &[(&str, &str)],
    done: &AtomicUsize,
    count: impl Fn() -> usize,
) {
    for _ in 0..3 {
        let mut program = Program::spawn(&world.url(), SLOT, settings);
        let enough = count() + fastrand::usize(1..600);
        while count() < enough {
            thread::sleep(sessions::POLL);
        }
        program.signal(Signal::SIGKILL);
        program.wait();
        wait_for_more(done, 20);
    }
}
