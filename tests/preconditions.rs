//! Each precondition of `init` that fails: the setting and the remedy are named, and nothing is changed.

use std::io::Write;
use std::process::Stdio;

use pgstream::config::PgUrl;
use pgstream::demo::cluster::Cluster;
use pgstream::setup::InitOptions;
use pgstream::store::{self, server, slots};

use crate::support::database::{
    SLOT, cluster, init_options, init_quietly, initialised, installation, run, session, session_in, url,
    url_as, value,
};
use crate::support::look::look;
use crate::support::program::Program;

/// Runs `init`, which has to fail with all these words and without having changed anything.
async fn refused(cluster: &Cluster, options: &InitOptions, words: &[&str]) {
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let mut session = session(cluster).await;
    let before: i64 = value(&mut session, slots).await;
    let error = init_quietly(options).await.expect_err("init refuses").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    let after: i64 = value(&mut session, slots).await;
    assert_eq!(before, after, "slots");
    let schemas: i64 = value(
        &mut session,
        "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgstream'",
    )
    .await;
    assert_eq!(schemas, 0, "schema pgstream");
}

fn options(cluster: &Cluster) -> InitOptions {
    init_options(url(cluster, "postgres"))
}

#[tokio::test]
async fn wal_level() {
    let cluster = cluster(&[("wal_level", "replica")]);
    refused(
        &cluster,
        &options(&cluster),
        &[
            "wal_level is replica",
            "ALTER SYSTEM SET wal_level = logical",
            "restart",
        ],
    )
    .await;
}

#[tokio::test]
async fn max_replication_slots() {
    let cluster = cluster(&[("max_replication_slots", "1")]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "SELECT pg_create_physical_replication_slot('other')",
    )
    .await;
    refused(
        &cluster,
        &options(&cluster),
        &[
            "max_replication_slots is 1 and 1 slots exist",
            "ALTER SYSTEM SET max_replication_slots = 2",
            "restart",
        ],
    )
    .await;
}

#[tokio::test]
async fn max_wal_senders() {
    let cluster = cluster(&[("max_wal_senders", "0")]);
    refused(
        &cluster,
        &options(&cluster),
        &[
            "max_wal_senders is 0",
            "ALTER SYSTEM SET max_wal_senders = 1",
            "restart",
        ],
    )
    .await;
}

#[tokio::test]
async fn existing_slots_that_are_not_ours() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE DATABASE other").await;
    let mut other = session_in(&url(&cluster, "other")).await;
    run(
        &mut session,
        "SELECT pg_create_logical_replication_slot('a', 'test_decoding');
         SELECT pg_create_physical_replication_slot('b')",
    )
    .await;
    run(
        &mut other,
        "SELECT pg_create_logical_replication_slot('c', 'wal2json')",
    )
    .await;
    for (slot, what) in [
        ("a", "one of the output plugin test_decoding"),
        ("b", "a physical slot"),
        ("c", "one of database other"),
    ] {
        let mut options = options(&cluster);
        options.slot = slot.to_owned();
        let named = format!("replication slot {slot} exists already and is {what}");
        refused(&cluster, &options, &[&named, "--replication-slot"]).await;
    }
}

#[tokio::test]
async fn slot_names() {
    let cluster = cluster(&[]);
    let mut options = options(&cluster);
    options.slot = "My-Slot".to_owned();
    refused(
        &cluster,
        &options,
        &["\"My-Slot\" is not a slot name", "lower-case letters"],
    )
    .await;
}

#[tokio::test]
async fn privileges() {
    let cluster = cluster(&[]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE ROLE nobody LOGIN; CREATE ROLE \"Repli\" LOGIN REPLICATION; CREATE ROLE creator LOGIN REPLICATION;
         GRANT CREATE ON DATABASE postgres TO creator",
    )
    .await;
    let with = |role| init_options(url_as(&cluster, role));
    refused(
        &cluster,
        &with("nobody"),
        &[
            "role nobody has no REPLICATION privilege",
            "ALTER ROLE \"nobody\" REPLICATION",
        ],
    )
    .await;
    refused(
        &cluster,
        &with("Repli"),
        &[
            "has no CREATE privilege",
            "GRANT CREATE ON DATABASE \"postgres\" TO \"Repli\"",
        ],
    )
    .await;
    refused(
        &cluster,
        &with("creator"),
        &["role creator may not create event triggers", "superuser"],
    )
    .await;
    // The store is checked before the source is changed.
    run(&mut session, "CREATE DATABASE store").await;
    let mut options = options(&cluster);
    options.store = Some(PgUrl::parse(&cluster.url_as("nobody", "store")).unwrap());
    refused(
        &cluster,
        &options,
        &["GRANT CREATE ON DATABASE \"store\" TO \"nobody\""],
    )
    .await;
}

#[tokio::test]
async fn a_role_that_is_no_superuser_may_repeat_a_complete_init() {
    let cluster = initialised(&[]).await;
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pgstream TO app;
         GRANT SELECT ON ALL TABLES IN SCHEMA pgstream TO app",
    )
    .await;
    let report = init_quietly(&init_options(url_as(&cluster, "app")))
        .await
        .unwrap();
    assert!(report.is_unchanged());
}

#[tokio::test]
async fn wal2json_missing() {
    // The server looks for libraries in a folder that has none.
    let cluster = cluster(&[("dynamic_library_path", "/nonexistent")]);
    let package = format!("postgresql-{}-wal2json", installation().version());
    refused(
        &cluster,
        &options(&cluster),
        &["wal2json is not installed", &package, "dynamic_library_path"],
    )
    .await;
}

#[tokio::test]
async fn output_plugin_libraries() {
    if !has_plugin_list() {
        return;
    }
    let cluster = cluster(&[("output_plugin_libraries", "pgoutput, test_decoding, \"Odd one\"")]);
    let remedy = "ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, 'Odd one', wal2json";
    refused(&cluster, &options(&cluster), &[remedy, "SELECT pg_reload_conf()"]).await;
    // A role that may not see the setting hears of it all the same.
    let mut session = session(&cluster).await;
    run(&mut session, "CREATE ROLE repli LOGIN REPLICATION").await;
    let repli = store::connect(&url_as(&cluster, "repli")).await.unwrap();
    assert_eq!(
        server::describe(&repli).await.unwrap().output_plugin_libraries,
        None
    );
    let error = slots::try_plugin(&repli).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("output_plugin_libraries"),
        "{error:?}"
    );
    run(&mut session, remedy).await;
    run(&mut session, "SELECT pg_reload_conf()").await;
    crate::support::database::wait_until("the server has read its settings again", async || {
        let mut fresh = session_in(&url(&cluster, "postgres")).await;
        value::<String>(&mut fresh, "SHOW output_plugin_libraries")
            .await
            .contains("wal2json")
    })
    .await;
    assert!(init_quietly(&options(&cluster)).await.unwrap().slot_created);
}

/// Says what this server is too old for, also where the output of tests that succeed is not shown.
fn not_tried(why: &str) {
    writeln!(std::io::stderr(), "NOT TRIED: {why}").expect("there is a place for errors");
}

/// Whether the server has a list of output plugins. Where it has none, that is said aloud.
fn has_plugin_list() -> bool {
    let has_list = installation().has_setting("output_plugin_libraries");
    if !has_list {
        not_tried(
            "this PostgreSQL does not know output_plugin_libraries; set PGSTREAM_PG_BIN to one that does (15.19 or later)",
        );
    }
    has_list
}

#[tokio::test]
async fn the_list_of_plugins_is_changed_where_that_is_asked_for() {
    let allowing = |options: InitOptions| InitOptions {
        allow_plugin: true,
        ..options
    };
    if !has_plugin_list() {
        let cluster = cluster(&[]);
        let words = [
            "does not know output_plugin_libraries",
            "init without --allow-plugin",
        ];
        return refused(&cluster, &allowing(options(&cluster)), &words).await;
    }
    let cluster = cluster(&[("output_plugin_libraries", "pgoutput, \"Odd one\"")]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE ROLE repli LOGIN REPLICATION; CREATE ROLE seeing LOGIN REPLICATION;
         GRANT pg_read_all_settings TO seeing; GRANT CREATE ON DATABASE postgres TO repli, seeing",
    )
    .await;
    let statement = "ALTER SYSTEM SET output_plugin_libraries = pgoutput, 'Odd one', wal2json";
    let of = |role| allowing(init_options(url_as(&cluster, role)));
    refused(
        &cluster,
        &of("seeing"),
        &["role seeing may not change output_plugin_libraries", statement],
    )
    .await;
    refused(
        &cluster,
        &of("repli"),
        &["this role may not see what it is", "\\gexec"],
    )
    .await;
    let list = "SELECT current_setting('output_plugin_libraries')";
    assert_eq!(value::<String>(&mut session, list).await, "pgoutput, \"Odd one\"");
    let allowed = allowing(options(&cluster));
    let mut told = Vec::new();
    let report = pgstream::setup::init(&allowed, &mut |text| told.push(text.to_owned()))
        .await
        .unwrap();
    assert!(report.slot_created);
    assert_eq!(told, [format!("ran {statement}, and the server has read it")]);
    let mut fresh = session_in(&url(&cluster, "postgres")).await;
    let now: String = value(&mut fresh, list).await;
    assert_eq!(now.replace('"', ""), "pgoutput, Odd one, wal2json");
    // Where it is there already, nothing is changed.
    let mut again = Vec::new();
    let report = pgstream::setup::init(&allowed, &mut |text| again.push(text.to_owned()))
        .await
        .unwrap();
    assert!(report.is_unchanged());
    assert_eq!(again, Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_that_is_not_allowed_any_more() {
    if !has_plugin_list() {
        return;
    }
    let cluster = initialised(&[]).await;
    let mut running = Program::start(&cluster.url("postgres"), SLOT, &[]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "ALTER SYSTEM SET output_plugin_libraries = pgoutput, \"Odd one\"",
    )
    .await;
    run(&mut session, "SELECT pg_reload_conf()").await;
    crate::support::database::wait_until("the server has read its settings again", async || {
        let mut fresh = session_in(&url(&cluster, "postgres")).await;
        !value::<String>(&mut fresh, "SHOW output_plugin_libraries")
            .await
            .contains("wal2json")
    })
    .await;
    let remedy = "ALTER SYSTEM SET output_plugin_libraries = pgoutput, 'Odd one', wal2json";
    for command in ["status", "check"] {
        let found = look(
            command,
            &["--pgurl", &cluster.url("postgres"), "--replication-slot", SLOT],
        );
        assert_eq!((found.code, found.problems()), (1, vec!["plugin_not_allowed"]));
        assert!(
            found.problem("plugin_not_allowed").1.contains(remedy),
            "{:#}",
            found.json
        );
    }
    // Who streams already is refused when it connects again.
    run(
        &mut session,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_replication",
    )
    .await;
    let refused = |program: &mut Program| {
        assert_eq!(program.wait().code(), Some(3));
        let line = program.log().into_iter().find(|line| line["level"] == "critical");
        let line = line.expect("it says why");
        assert!(line["msg"].as_str().unwrap().contains(remedy), "{line}");
    };
    refused(&mut running);
    refused(&mut Program::spawn(&cluster.url("postgres"), SLOT, &[]));
}

#[tokio::test]
async fn the_remedy_of_who_may_not_see_the_list() {
    if !has_plugin_list() {
        return;
    }
    let cluster = cluster(&[("output_plugin_libraries", "pgoutput, \"Odd one\"")]);
    let mut session = session(&cluster).await;
    run(
        &mut session,
        "CREATE ROLE repli LOGIN REPLICATION; GRANT CREATE ON DATABASE postgres TO repli",
    )
    .await;
    let found = look("check", &["--pgurl", &cluster.url_as("repli", "postgres")]);
    let (_, remedy) = found.problem("plugin_not_allowed");
    let query = &remedy[remedy.find("SELECT").unwrap()..remedy.find(" and then").unwrap()];
    let mut psql = cluster.command("psql");
    psql.args([
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
        &cluster.url("postgres"),
    ]);
    let mut psql = psql.stdin(Stdio::piped()).spawn().unwrap();
    writeln!(psql.stdin.take().unwrap(), "{query}\nSELECT pg_reload_conf();").unwrap();
    assert!(psql.wait().unwrap().success());
    crate::support::database::wait_until("the plugin is allowed", async || {
        look("check", &["--pgurl", &cluster.url("postgres")]).code == 0
    })
    .await;
}

#[tokio::test]
async fn failover_slots() {
    let cluster = cluster(&[]);
    let failover = |failover| InitOptions {
        failover,
        ..options(&cluster)
    };
    if installation().version() < 17 {
        not_tried("this PostgreSQL has no failover slots; they begin with version 17");
        let words = [
            "cannot keep stand-bys in step",
            "--failover",
            "PostgreSQL 17 or later",
        ];
        return refused(&cluster, &failover(true), &words).await;
    }
    assert!(init_quietly(&failover(true)).await.unwrap().slot_created);
    let mut session = session(&cluster).await;
    let is_failover = "SELECT failover FROM pg_replication_slots";
    assert!(value::<bool>(&mut session, is_failover).await);
    assert!(init_quietly(&failover(true)).await.unwrap().is_unchanged());
    run(
        &mut session,
        &format!("SELECT pg_drop_replication_slot('{SLOT}')"),
    )
    .await;
    assert!(init_quietly(&failover(false)).await.unwrap().slot_created);
    let error = init_quietly(&failover(true)).await.unwrap_err().to_string();
    assert!(error.contains("ALTER_REPLICATION_SLOT"), "{error}");
}

#[tokio::test]
async fn no_server() {
    let cluster = cluster(&[]);
    let mut options = options(&cluster);
    options.source.servers[0].port = 1;
    let error = init_quietly(&options).await.unwrap_err().to_string();
    assert!(
        error.contains("cannot connect to postgres://postgres@127.0.0.1:1/postgres"),
        "{error}"
    );
}
