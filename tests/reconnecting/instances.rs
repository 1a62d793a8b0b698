//! Several instances: one streams, and the others stand by until it ends.

use super::*;

#[test]
fn an_instance_that_has_not_begun_yet_stands_by_behind_the_one_that_took_over() {
    let mut world = world(&[]);
    // Another process has the slot, so that the program cannot begin.
    let mut holder = world
        .cluster
        .command("pg_recvlogical")
        .args(["--start", "--no-loop", "--slot", SLOT, "--file", "/dev/null"])
        .args(["--dbname", &world.url()])
        .spawn()
        .unwrap();
    world
        .sql
        .wait_for("SELECT count(*) = 1 FROM pg_replication_slots WHERE active");
    let mut program = Program::spawn(&world.url(), SLOT, &FAST);
    program.wait_for_log("standing by at the slot", |line| line["event"] == "standing_by");
    // Its lock goes, and somebody else takes it.
    let mut other = Sql::open(&world.cluster, "postgres");
    other.run(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory';
         DO $$ BEGIN
             WHILE NOT pg_try_advisory_lock('pgstream.webhook_backlog'::regclass::bigint) LOOP END LOOP;
         END $$;
         UPDATE pgstream.webhook_terms SET term = term + 1",
    );
    program.wait_for_log("the other one", |line| line["event"] == "taken_over");
    drop(other);
    holder.kill().unwrap();
    holder.wait().unwrap();
    program.wait_for_log("streaming", |line| line["msg"] == "streaming");
    let (status, _) = program.terminate();
    assert!(status.success());
}

#[test]
fn another_instance_stands_by_and_takes_over() {
    let mut world = world(&[]);
    let receiver = receiver();
    let first = start(&world);
    subscribe(&first, &receiver);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    let mut second = Program::spawn(&world.url(), SLOT, &FAST);
    second.wait_for_log("standing by", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("standing by"))
    });
    // As a crash would.
    drop(first);
    insert(&mut world.sql, 11..=20);
    second.wait_for_log("streaming", |line| line["msg"] == "streaming");
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=20);
}

#[test]
fn an_instance_that_was_cut_off_stands_by_behind_the_one_that_took_over() {
    let mut world = world(&[]);
    let proxy = Proxy::of(&world.cluster);
    let receiver = receiver();
    // All of it through the proxy, the store included.
    let mut first = Program::start(&proxy.url("postgres"), SLOT, &FAST);
    subscribe(&first, &receiver);
    insert(&mut world.sql, 1..=10);
    world.sql.wait_until_delivered();
    let mut second = Program::spawn(&world.url(), SLOT, &FAST);
    second.wait_for_log("standing by", |line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("standing by"))
    });
    proxy.refuse(true);
    proxy.cut();
    second.wait_for_log("streaming", |line| line["msg"] == "streaming");
    insert(&mut world.sql, 11..=20);
    world.sql.wait_until_delivered();
    proxy.refuse(false);
    first.wait_for_log("standing by", |line| line["event"] == "standing_by");
    insert(&mut world.sql, 21..=30);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=30);
    // What the ended engine knew is not shown beside what the other one knows.
    first.wait_for_metrics(|metrics| {
        !metrics.families().contains_key("pgstream_endpoints")
            && metrics.labelled("pgstream_connection_state", &[("state", "standing_by")]) == 1.0
    });
    let streamed = times(&first, "streaming");
    drop(second);
    insert(&mut world.sql, 31..=40);
    world.sql.wait_until_delivered();
    assert_once(&receiver, 1..=40);
    assert_eq!(times(&first, "streaming"), streamed + 1, "it took over again");
}
