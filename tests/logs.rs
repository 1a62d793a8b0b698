//! Suite `logs`: lines for machines, events with names, and no flood of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::receiver::{Action, Receiver};
use crate::support::world::World;

#[test]
fn every_named_event_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/logs.md")).unwrap();
    let section = text.split("\n## Events\n").nth(1).unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    let documented: BTreeSet<String> = documented.into_iter().filter(|name| name != "event").collect();
    let mut named = BTreeSet::new();
    collect(&root.join("src"), &mut named);
    assert_eq!(documented, named);
}

/// The names of events in the sources.
fn collect(folder: &Path, named: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, named);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("\"event\" => \"").skip(1);
            named.extend(names.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
}

#[test]
fn an_endpoint_that_refuses_everything_does_not_flood_the_log() {
    let mut world = World::new(&[]);
    world.sql.run("CREATE TABLE items (id bigint PRIMARY KEY)");
    let refuses = Receiver::start(|_| Action::status(400));
    let program = world.start(&[]);
    program.subscribe(&json!({"url": refuses.url("/"), "schema": "public", "table": "items"}));
    world
        .sql
        .run("INSERT INTO items SELECT n FROM generate_series(1, 200) n");
    world.sql.wait_until_settled();
    let dead: i64 = world
        .sql
        .value("SELECT count(*) FROM pgstream.webhook_dead_letters");
    let (status, log) = program.terminate();
    assert!(status.success());
    assert_eq!(dead, 200);
    let told: Vec<_> = log.iter().filter(|line| line["event"] == "dead_letter").collect();
    // Ten a minute, and a loaded machine may take more than one.
    assert!((10..=30).contains(&told.len()), "{} lines", told.len());
    for line in &log {
        for key in ["ts", "level", "msg"] {
            assert!(line[key].is_string(), "no {key}: {line}");
        }
    }
    assert_eq!(told[0]["reason"], "refused");
    assert_eq!(told[0]["suppressed"], 0);
}
