//! Slots that are not what they were, or are no more.

use super::*;

#[test]
fn a_slot_that_is_being_made_is_waited_for() {
    let mut world = world(&[]);
    world
        .sql
        .run(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
    let mut open = Sql::open(&world.cluster, "postgres");
    open.run("BEGIN; INSERT INTO noise VALUES (1)");
    let statement = format!("SELECT pg_create_logical_replication_slot('{SLOT}', 'wal2json')");
    let mut making = world.cluster.psql("postgres", &statement).spawn().unwrap();
    world.sql.wait_for(
        "SELECT count(*) = 1 FROM pg_replication_slots WHERE confirmed_flush_lsn IS NULL AND active",
    );
    let mut program = Program::spawn(&world.url(), SLOT, &FAST);
    program.wait_for_log("standing by", |line| line["event"] == "standing_by");
    open.run("COMMIT");
    assert!(making.wait().unwrap().success());
    program.wait_for_log("streaming", |line| line["msg"] == "streaming");
}

#[test]
fn a_slot_that_was_made_anew_is_refused_until_the_gap_is_accepted() {
    let mut world = world(&[]);
    let receiver = receiver();
    let program = start(&world);
    subscribe(&program, &receiver);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
    world
        .sql
        .run(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
    let found = look("status", &["--pgurl", &world.url(), "--replication-slot", SLOT]);
    assert!(
        found.problem("slot_missing").1.contains("--accept-gap"),
        "{:#}",
        found.json
    );
    insert(&mut world.sql, 11..=20);
    let made = pgstream(&["init", "--pgurl", &world.url(), "--replication-slot", SLOT])
        .output()
        .unwrap();
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(
        made.status.success() && said.contains("will want --accept-gap"),
        "{said}"
    );
    insert(&mut world.sql, 21..=30);

    let found = look("status", &["--pgurl", &world.url(), "--replication-slot", SLOT]);
    assert_eq!((found.code, found.problems()), (1, vec!["source_changed"]));
    let (message, remedy) = found.problem("source_changed");
    assert!(message.contains("dropped and made again") && remedy.contains("--accept-gap"));
    assert_eq!(
        (
            &found.json["remembered"]["timeline"],
            &found.json["remembered"]["epoch"]
        ),
        (&json!(1), &json!(1))
    );
    for _ in 0..2 {
        let (code, said) = end(Program::spawn(&world.url(), SLOT, &FAST));
        assert_eq!(code, Some(GAP), "{said}");
        assert!(
            said.contains("dropped and made again") && said.contains("--accept-gap"),
            "{said}"
        );
    }
    // Of another history, rows have brought nothing: what an old snapshot sees is not left out of it.
    world.sql.run(&format!(
        "INSERT INTO pgstream.snapshot_tables (slot, oid, schema_name, table_name, state, fresh, run, estimated_rows, total_bytes)
         VALUES ('{SLOT}', 'items'::regclass::oid, 'public', 'items', 'done', false, 1, 0, 0);
         INSERT INTO pgstream.snapshot_endpoints (slot, oid, endpoint, fresh, snapshot, until_lsn)
         VALUES ('{SLOT}', 'items'::regclass::oid, '{}', false, '4000000000:4000000000:', 'FFFFFFFF/0')",
        receiver.url("/")
    ));
    let program = world.run(&["--accept-gap", "--log-level", "trace"]);
    world.sql.wait_until_delivered();
    let mut keys: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| Change::of(request).key)
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, (1..=10).chain(21..=30).collect::<Vec<_>>());
    for request in receiver.requests() {
        let epoch = if Change::of(&request).key <= 10 { "1" } else { "2" };
        assert_eq!(webhook_id(&request).split('-').nth(1), Some(epoch));
    }
    assert!(program.terminate().0.success());
    // It is accepted for good.
    let program = start(&world);
    insert(&mut world.sql, 31..=31);
    world.sql.wait_until_delivered();
    assert!(program.terminate().0.success());
}

#[test]
fn a_slot_that_was_advanced_after_a_crash_is_refused() {
    let mut world = world(&[]);
    let receiver = receiver();
    let program = start(&world);
    subscribe(&program, &receiver);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    // No orderly end: what is written down of the slot is a bound that is a little further on.
    drop(program);
    world.sql.wait_for("SELECT NOT active FROM pg_replication_slots");
    insert(&mut world.sql, 11..=10_000);
    world.sql.run(&format!(
        "SELECT pg_replication_slot_advance('{SLOT}', pg_current_wal_lsn())"
    ));
    let (code, said) = end(Program::spawn(&world.url(), SLOT, &FAST));
    assert_eq!(code, Some(GAP), "{said}");
    assert!(said.contains("advanced by hand"), "{said}");
}

#[test]
fn a_slot_that_goes_while_it_is_streamed_ends_the_program() {
    let mut world = world(&[]);
    let program = start(&world);
    // Whoever is connected may come back in between.
    world.sql.run(&format!(
        "DO $$ BEGIN
             LOOP
                 BEGIN
                     PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
                     PERFORM pg_drop_replication_slot('{SLOT}');
                     RETURN;
                 EXCEPTION WHEN object_in_use THEN
                 END;
             END LOOP;
         END $$"
    ));
    let (code, said) = end(program);
    assert_eq!(code, Some(REFUSED), "{said}");
    assert!(
        said.contains("replication slot not found") && said.contains("pgstream init"),
        "{said}"
    );
}

#[test]
fn a_slot_whose_wal_is_gone_ends_the_program() {
    let mut world = world(&[
        ("max_slot_wal_keep_size", "1MB"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "32MB"),
    ]);
    let receiver = receiver();
    let program = start(&world);
    subscribe(&program, &receiver);
    assert!(program.terminate().0.success());
    for _ in 0..4 {
        world.sql.run("SELECT pg_switch_wal()");
        world
            .sql
            .run("INSERT INTO noise SELECT coalesce(max(id), 0) + 1 FROM noise");
    }
    world.sql.run("CHECKPOINT");
    world
        .sql
        .wait_for("SELECT wal_status = 'lost' FROM pg_replication_slots");
    let (code, said) = end(Program::spawn(&world.url(), SLOT, &FAST));
    assert_eq!(code, Some(REFUSED), "{said}");
    assert!(said.contains("has removed WAL that it needs"), "{said}");
    // The remedy, as it is told: what is subscribed to stays.
    for remedy in [
        "pg_drop_replication_slot",
        "pgstream init",
        "pgstream run --accept-gap",
    ] {
        assert!(said.contains(remedy), "{said}");
    }
    world
        .sql
        .run(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
    let made = pgstream(&["init", "--pgurl", &world.url(), "--replication-slot", SLOT]).output();
    assert!(made.unwrap().status.success());
    let program = world.run(&["--accept-gap"]);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=10);
    assert!(program.terminate().0.success());
}
