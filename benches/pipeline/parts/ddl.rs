//! What the schema log adds to a statement that changes a table.

use std::time::Instant;

use pgstream::store::SchemaLogMode;

use super::Scale;
use crate::report::{Figure, Target};
use crate::stage::{Stage, World};

/// How many statements are timed; each adds a column and takes it away again.
const STATEMENTS: usize = 20;

/// What a statement may take with all tables in its entry, in a small schema and in a large one, and with what it touched.
const MOST: [f64; 3] = [12.0, 100.0, 1.5];

pub(super) fn measure(world: &World, scale: &Scale) -> Vec<Figure> {
    let [few, many] = scale.tables;
    let mut stage = world.stage("ddl");
    make_tables(&mut stage, 1..=few);
    let small = time(&mut stage);
    make_tables(&mut stage, few + 1..=many);
    let large = time(&mut stage);
    stage.set_schema_log(SchemaLogMode::Changed);
    let changed = time(&mut stage);
    triggers(&mut stage, "DISABLE");
    let without = time(&mut stage);
    let figure =
        |what: String, runs: Vec<f64>, most: f64| Figure::new(what, "ms", runs).with(Target::AtMost(most));
    vec![
        figure(format!("full, {few} tables"), small, MOST[0]),
        figure(format!("full, {many} tables"), large, MOST[1]),
        figure(format!("changed, {many} tables"), changed, MOST[2]),
        Figure::new(format!("without the triggers, {many} tables"), "ms", without),
    ]
}

fn triggers(stage: &mut Stage<'_>, state: &str) {
    for trigger in ["pgstream_log_change", "pgstream_log_drop"] {
        stage.sql.run(&format!("ALTER EVENT TRIGGER {trigger} {state}"));
    }
}

/// Tables of eight columns, with a primary key, a unique column and some defaults.
fn make_tables(stage: &mut Stage<'_>, numbers: impl Iterator<Item = usize>) {
    triggers(stage, "DISABLE");
    for number in numbers {
        stage.sql.run(&format!(
            "CREATE TABLE t{number} (id serial PRIMARY KEY, name text NOT NULL, email varchar(120) UNIQUE,
                 amount numeric(10, 2) DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now(), note text,
                 flag boolean DEFAULT false, other bigint)"
        ));
    }
    stage.sql.run("VACUUM ANALYZE");
    triggers(stage, "ENABLE");
}

/// How many milliseconds each statement takes, in a session that has run some before.
fn time(stage: &mut Stage<'_>) -> Vec<f64> {
    let mut times = Vec::with_capacity(STATEMENTS);
    for number in 0..STATEMENTS + 4 {
        let step = if number % 2 == 0 {
            "ADD COLUMN x int"
        } else {
            "DROP COLUMN x"
        };
        let begun = Instant::now();
        stage.sql.run(&format!("ALTER TABLE t1 {step}"));
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.split_off(4)
}
