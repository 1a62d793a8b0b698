//! Suite `boundaries`: the sources keep to "Who may know what", as the crate's documentation states it, and stay tidy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One source file without its tests and comments.
struct Source {
    /// Its path below the package's `src`, such as `delivery/retry.rs`.
    path: String,
    code: String,
    lines: usize,
}

impl Source {
    /// The room it belongs to: the folder, or the file where it stands alone.
    fn room(&self) -> &str {
        self.path
            .split('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs")
    }

    /// Whether a word occurs in its code.
    fn names(&self, word: &str) -> bool {
        self.code.match_indices(word).any(|(at, _)| {
            let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !is_part(self.code[..at].chars().next_back())
                && !is_part(self.code[at + word.len()..].chars().next())
        })
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 20, "the sources are not where they should be");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sorted: BTreeSet<PathBuf> = entries.collect();
    for path in sorted {
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            // An item within a module may be for tests only; the module of the tests ends the file.
            let text = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push(Source {
                path,
                code: lines.collect::<Vec<_>>().join("\n"),
                lines: text.lines().count(),
            });
        }
    }
}

/// Which files name a word, of those that may not.
fn offenders(sources: &[Source], word: &str, may: &[&str]) -> Vec<String> {
    let names = sources.iter().filter(|source| source.names(word));
    let offending = names.filter(|source| !may.iter().any(|place| source.path.starts_with(place)));
    offending
        .map(|source| format!("{} names {word}", source.path))
        .collect()
}

#[test]
fn libraries_are_known_where_they_belong_only() {
    let sources = sources("src");
    for (library, may) in [
        ("ureq", &["delivery/worker/"] as &[&str]),
        ("sqlx", &["store/"]),
        ("warp", &["api/", "receiver/"]),
        ("hyper", &["http_server/", "receiver/"]),
        ("hyper_util", &["http_server/", "api/", "receiver/"]),
        ("prometheus", &["monitoring/", "telemetry/durations.rs"]),
        ("argh", &["cli/"]),
        ("postgres_protocol", &["connect/authenticate.rs"]),
        ("tokio_rustls", &["connect/"]),
        ("rustls_native_certs", &["connect/files.rs"]),
        ("Framed", &["connect/", "replication/connection.rs"]),
    ] {
        assert_eq!(offenders(&sources, library, may), Vec::<String>::new());
        assert!(
            sources.iter().any(|source| source.names(library)),
            "nobody names {library}: is the rule still right?"
        );
    }
}

#[test]
fn pure_files_know_no_clock_and_no_input_or_output() {
    const PURE: [&str; 47] = [
        "backoff.rs",
        "connect/sqlstate.rs",
        "replication/history.rs",
        "replication/repeated.rs",
        "pipeline/intake/seen.rs",
        "filter.rs",
        "patterns.rs",
        "snapshot/choose.rs",
        "snapshot/ranges.rs",
        "snapshot/row.rs",
        "endpoint/health/mod.rs",
        "endpoint/health/state.rs",
        "subscription/matcher.rs",
        "subscription/model.rs",
        "delivery/lanes/entries.rs",
        "delivery/lanes/fill.rs",
        "delivery/lanes/group.rs",
        "delivery/lanes/mod.rs",
        "delivery/lanes/sweep.rs",
        "delivery/lanes/table.rs",
        "delivery/window.rs",
        "delivery/retry.rs",
        "delivery/outcome.rs",
        "replication/feedback.rs",
        "progress/ledger.rs",
        "progress/budget.rs",
        "replication/vitals.rs",
        "monitoring/readiness.rs",
        "monitoring/endpoints.rs",
        "telemetry/seldom.rs",
        "event/commit_time.rs",
        "event/description.rs",
        "event/injection.rs",
        "event/order.rs",
        "event/payload.rs",
        "schema_log/known.rs",
        "schema_log/model.rs",
        "schema_log/needed.rs",
        "setup/precondition.rs",
        "setup/slot_risk.rs",
        "setup/synchronous.rs",
        "setup/check/items.rs",
        "setup/status/deliveries.rs",
        "setup/status/history.rs",
        "setup/status/identity.rs",
        "setup/status/judge.rs",
        "run/watch/alarms.rs",
    ];
    const IMPURE: [&str; 9] = [
        "now",
        "std::net",
        "std::fs",
        "std::thread",
        "std::env",
        "tokio::net",
        "tokio::time",
        "fastrand",
        "slog",
    ];
    let sources = sources("src");
    for path in PURE {
        let source = sources.iter().find(|source| source.path == path);
        let source = source.unwrap_or_else(|| panic!("{path} is gone: is the rule still right?"));
        for word in IMPURE {
            let called = word == "now" && !source.code.contains("::now()");
            assert!(called || !source.names(word), "{path} names {word}");
        }
    }
}

#[test]
fn bytes_and_meaning_know_nothing_of_the_program() {
    for source in sources("proto/src") {
        for word in [
            "pgstream",
            "tokio",
            "sqlx",
            "warp",
            "ureq",
            "slog",
            "std::net",
            "std::fs",
            "std::thread",
        ] {
            assert!(!source.names(word), "{} names {word}", source.path);
        }
    }
}

/// The rooms that each room imports. A room's leaf `model` is a room of its own.
fn imports(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let model = source.path.ends_with("/model.rs");
        let from = if model {
            format!("{}::model", source.room())
        } else {
            source.room().to_owned()
        };
        let to = imports.entry(from.clone()).or_default();
        for (at, _) in source.code.match_indices("crate::") {
            let path = &source.code[at + "crate::".len()..];
            let room: String = path
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let leaf = path[room.len()..].starts_with("::model");
            let room = if leaf { format!("{room}::model") } else { room };
            if !room.is_empty() && room != from && !from.starts_with(&format!("{room}::")) {
                to.insert(room);
            }
        }
    }
    imports
}

#[test]
fn replication_and_delivery_never_import_each_other() {
    let imports = imports(&sources("src"));
    assert!(!imports["replication"].contains("delivery") && !imports["replication"].contains("pipeline"));
    assert!(!imports["delivery"].contains("replication") && !imports["delivery"].contains("pipeline"));
}

#[test]
fn the_store_imports_models_urls_and_their_opening_only() {
    let imports = imports(&sources("src"));
    let expected: BTreeSet<String> = [
        "config",
        "connect",
        "delivery::model",
        "endpoint::model",
        "event",
        "schema_log::model",
        "snapshot::model",
        "subscription::model",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(imports["store"], expected);
}

#[test]
fn the_operator_acts_on_the_store_only() {
    let imports = imports(&sources("src"));
    let expected: BTreeSet<String> = ["config", "endpoint::model", "store", "subscription::model"]
        .map(str::to_owned)
        .into();
    assert_eq!(imports["operator"], expected);
}

#[test]
fn there_are_no_circles_between_rooms() {
    let imports = imports(&sources("src"));
    let mut left: BTreeMap<&String, &BTreeSet<String>> = imports
        .iter()
        .filter(|(room, _)| !["lib", "main"].contains(&room.as_str()))
        .collect();
    // Takes away, again and again, what imports nothing that is left.
    while let Some(free) = left
        .iter()
        .find(|(_, to)| !to.iter().any(|to| left.contains_key(to)))
        .map(|(room, _)| *room)
    {
        left.remove(free);
    }
    assert!(left.is_empty(), "circle within: {left:#?}");
}

#[test]
fn the_sources_are_tidy() {
    for source in sources("src").iter().chain(&sources("proto/src")) {
        assert!(
            source.lines <= 500,
            "{} has {} lines: find its second concept",
            source.path,
            source.lines
        );
        for word in ["todo!", "unimplemented!", "dbg!", "#[ignore", "allow(dead_code"] {
            assert!(!source.code.contains(word), "{} contains {word}", source.path);
        }
        let name = source.path.rsplit('/').next().unwrap_or_default();
        for vague in ["utils.rs", "common.rs", "helpers.rs", "types.rs"] {
            assert_ne!(name, vague, "{}: name the thing", source.path);
        }
    }
}
