//! Suite `boundaries`: the sources keep the rules of `src/lib.rs` about who may know what, and stay tidy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The longest file, tests and comments left out, in lines.
const FILE_LINES: usize = 500;

/// What gives a module a clock, a thread, or something outside of the program.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "fastrand::",
    "slog::",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "sqlx::",
    "tokio::fs",
    "tokio::net",
    "tokio::spawn",
    "tokio::task",
    "tokio::time",
    "ureq::",
];

/// The modules that take time as an argument.
const PURE: &[&str] = &[
    "src/subscription/matcher.rs",
    "src/delivery/lanes.rs",
    "src/delivery/window.rs",
    "src/delivery/retry.rs",
    "src/delivery/outcome.rs",
    "src/replication/feedback.rs",
    "src/progress/",
];

/// One file of Rust.
struct Source {
    /// From the root of the repository.
    path: String,
    /// Its text without comments that fill a line, and without its tests.
    code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source is text");
        let relative = path.strip_prefix(ROOT).expect("sources are below the root");
        Self {
            path: relative.to_str().expect("sources have plain names").to_owned(),
            code: without_tests(&text),
        }
    }

    /// Its modules from the outermost in: `src/config/pg_url/mod.rs` is `config`, `pg_url`.
    fn modules(&self) -> Vec<&str> {
        let path = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let names = path.split('/').skip_while(|name| *name != "src").skip(1);
        names
            .filter(|name| !matches!(*name, "mod" | "lib" | "main"))
            .collect()
    }

    /// The room it belongs to; a `model` is a node of its own, for it is a leaf that others may know.
    fn node(&self) -> Option<String> {
        match self.modules().as_slice() {
            [] => None,
            [room, "model", ..] => Some(format!("{room}::model")),
            [room, ..] => Some((*room).to_owned()),
        }
    }

    /// The paths into this package that it names, such as `store::slots`: each to its second name.
    fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for path in mentions(&self.code, "crate::") {
            let first = name_at(path);
            assert!(
                !first.is_empty(),
                "{}: one `use crate::…` a room, please",
                self.path
            );
            let second = path[first.len()..].strip_prefix("::").map_or("", name_at);
            found.insert(format!("{first}::{second}"));
        }
        found
    }

    /// The nodes that it names, but for its own room.
    fn imported_nodes(&self) -> BTreeSet<String> {
        let node = |path: String| match path.split_once("::") {
            Some((room, "model")) => format!("{room}::model"),
            Some((room, _)) => room.to_owned(),
            None => path,
        };
        let own = self.modules().first().map_or("", |room| *room).to_owned();
        let is_own = |node: &String| *node == own || node.strip_suffix("::model") == Some(&own);
        self.imports()
            .into_iter()
            .map(node)
            .filter(|node| !is_own(node))
            .collect()
    }

    fn knows(&self, package: &str) -> bool {
        mentions(&self.code, &format!("{package}::")).next().is_some()
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

/// What comes after each mention of a path that begins with `start`.
fn mentions<'a>(code: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(start).filter_map(move |(at, _)| {
        let goes_on = |character: char| character.is_alphanumeric() || matches!(character, '_' | ':');
        (!code[..at].ends_with(goes_on)).then(|| &code[at + start.len()..])
    })
}

fn name_at(path: &str) -> &str {
    let end = path.find(|character: char| !character.is_alphanumeric() && character != '_');
    &path[..end.unwrap_or(path.len())]
}

/// A file's tests stand at its end.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if line == "#[cfg(test)]" && next.contains("mod ") && next.ends_with('{') {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The sources in these folders, those of tests left out.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = folders
        .iter()
        .map(|folder| Path::new(ROOT).join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("a folder of sources").path();
            if path.is_dir() && !path.ends_with("src/tests") && path.file_name() != Some("tests".as_ref()) {
                folders.push(path);
            } else if path.extension() == Some("rs".as_ref()) && path.file_name() != Some("tests.rs".as_ref())
            {
                found.push(Source::read(&path));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn program() -> Vec<Source> {
    sources(&["src"])
}

/// Fails with all the places that break a rule.
fn assert_kept(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<_> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{rule}\nbroken by:\n  {}", broken.join("\n  "));
}

/// Fails where a source outside of `places` knows one of the packages.
fn only(places: &[&str], packages: &[&str]) {
    let sources = program();
    for package in packages {
        let knowing = sources.iter().filter(|source| source.knows(package));
        let outside = knowing.filter(|source| !source.is_in(places));
        assert_kept(
            &format!("only {places:?} may know {package}"),
            outside.map(|source| source.path.clone()),
        );
    }
}

#[test]
fn only_replication_touches_the_replication_socket() {
    only(
        &["src/replication/"],
        &[
            "pgstream_proto::backend",
            "pgstream_proto::codec",
            "pgstream_proto::frontend",
            "postgres_protocol",
            "tokio_util::codec",
        ],
    );
    let sockets = |source: &&Source| source.code.contains("TcpStream") || source.code.contains("UnixStream");
    let sources = program();
    let elsewhere = sources
        .iter()
        .filter(|source| source.is_in(&["src/replication/"]))
        .filter(sockets);
    let holders: BTreeSet<_> = elsewhere.map(|source| source.path.as_str()).collect();
    let allowed = BTreeSet::from(["src/replication/socket.rs"]);
    assert_eq!(
        holders, allowed,
        "one module opens the socket, and hands it on as a stream of messages"
    );
}

#[test]
fn only_the_workers_know_ureq() {
    only(&["src/delivery/worker/"], &["ureq"]);
}

#[test]
fn only_the_store_knows_sqlx_and_it_imports_leaves() {
    only(&["src/store/"], &["sqlx"]);
    let leaf = |path: &String| {
        path.ends_with("::model") || path.starts_with("config::") || path.starts_with("store::")
    };
    let sources = program();
    let store = sources.iter().filter(|source| source.is_in(&["src/store/"]));
    let others = store.flat_map(|source| {
        let imports = source.imports().into_iter().filter(|path| !leaf(path));
        imports
            .map(|path| format!("{}: {path}", source.path))
            .collect::<Vec<_>>()
    });
    assert_kept(
        "the store imports nothing but leaf models and the parsed URL",
        others,
    );
}

#[test]
fn only_servers_know_how_http_is_served() {
    only(&["src/api/", "src/receiver/"], &["warp"]);
    only(
        &["src/api/", "src/receiver/", "src/http_server/"],
        &["hyper", "hyper_util"],
    );
}

#[test]
fn replication_and_delivery_never_import_each_other() {
    let sources = program();
    let crossing = |from: &'static str, to: &'static str| {
        let in_room = sources
            .iter()
            .filter(move |source| source.modules().first() == Some(&from));
        let importing = in_room.filter(move |source| source.imported_nodes().contains(to));
        importing.map(move |source| format!("{} imports {to}", source.path))
    };
    let both = crossing("replication", "delivery").chain(crossing("delivery", "replication"));
    assert_kept("pipeline and progress are between replication and delivery", both);
}

#[test]
fn pure_modules_have_no_clock_and_no_way_out() {
    let sources = program();
    for place in PURE {
        assert!(
            sources.iter().any(|source| source.is_in(&[place])),
            "{place} has moved"
        );
    }
    let pure = sources.iter().filter(|source| source.is_in(PURE));
    let broken = pure.flat_map(|source| {
        let impure = IMPURE.iter().filter(|name| source.code.contains(**name));
        impure
            .map(|name| format!("{}: {name}", source.path))
            .collect::<Vec<_>>()
    });
    assert_kept("pure modules take time as an argument, and do no I/O", broken);
}

#[test]
fn the_codec_stands_alone() {
    let sources = sources(&["proto/src"]);
    let outer = ["pgstream", "tokio", "slog", "sqlx", "warp", "ureq"];
    let broken = sources.iter().flat_map(|source| {
        let known = outer.iter().filter(|package| source.knows(package));
        // tokio-util's traits want errors that can be made of an `io::Error`.
        let impure = IMPURE
            .iter()
            .filter(|name| **name != "std::io" && source.code.contains(**name));
        known
            .chain(impure)
            .map(|name| format!("{}: {name}", source.path))
            .collect::<Vec<_>>()
    });
    assert_kept(
        "pgstream_proto turns bytes into meaning, and knows nothing else",
        broken,
    );
    let manifest = fs::read_to_string(Path::new(ROOT).join("proto/Cargo.toml")).expect("a manifest");
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).expect("a section");
    let dependencies = dependencies
        .split("\n[")
        .next()
        .expect("split gives at least one part");
    let names: Vec<_> = dependencies
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["bytes", "thiserror", "tokio-util"]);
}

#[test]
fn there_are_no_circles_between_rooms() {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in program() {
        if let Some(node) = source.node() {
            graph.entry(node).or_default().extend(source.imported_nodes());
        }
    }
    assert!(graph.len() > 10, "the rooms were not found: {graph:?}");
    for start in graph.keys() {
        let circle = way(&graph, start, start, &mut BTreeSet::new());
        assert_kept(
            "there are no circles between rooms",
            circle.map(|way| format!("{start} -> {way}")),
        );
    }
}

/// A way through the imports from one room to another.
fn way<'a>(
    graph: &'a BTreeMap<String, BTreeSet<String>>,
    from: &'a str,
    to: &str,
    seen: &mut BTreeSet<&'a str>,
) -> Option<String> {
    for next in graph.get(from)? {
        if next == to {
            return Some(next.clone());
        }
        if seen.insert(next)
            && let Some(rest) = way(graph, next, to, seen)
        {
            return Some(format!("{next} -> {rest}"));
        }
    }
    None
}

#[test]
fn nobody_leaves_a_room_through_its_parents() {
    let sources = program();
    let leaving = sources.iter().filter(|source| {
        let out = "super::".repeat(source.modules().len().max(1));
        source.code.contains(&out)
    });
    assert_kept(
        "another room is named from `crate` on",
        leaving.map(|source| source.path.clone()),
    );
}

#[test]
fn files_are_short_and_finished() {
    let sources = sources(&["src", "proto/src", "tests", "benches", "fuzz/fuzz_targets"]);
    let of_program = |source: &&Source| source.is_in(&["src/", "proto/src/"]);
    let long = sources
        .iter()
        .filter(of_program)
        .filter(|source| source.code.lines().count() > FILE_LINES);
    assert_kept("a file is one concept", long.map(|source| source.path.clone()));
    // Put together, so that this file is not found.
    let unfinished = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore"),
        concat!("(dead", "_code"),
    ];
    let broken = sources.iter().flat_map(|source| {
        let found = unfinished.iter().filter(|word| source.code.contains(**word));
        found
            .map(|word| format!("{}: {word}", source.path))
            .collect::<Vec<_>>()
    });
    assert_kept("what is in the repository is finished", broken);
}

#[test]
fn tests_and_comments_are_left_out_and_paths_found() {
    let text = "// crate::a\nuse crate::b::model::C;\nlet x = crate::d::e();\nmy_crate::f;\n#[cfg(test)]\nmod tests {\n crate::g";
    let source = Source {
        path: "src/pipeline/routes.rs".to_owned(),
        code: without_tests(text),
    };
    assert_eq!(source.modules(), ["pipeline", "routes"]);
    assert_eq!(
        source.imports(),
        BTreeSet::from(["b::model".to_owned(), "d::e".to_owned()])
    );
    assert_eq!(
        source.imported_nodes(),
        BTreeSet::from(["b::model".to_owned(), "d".to_owned()])
    );
    let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    let graph = BTreeMap::from([edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("d", "a")]);
    assert_eq!(
        way(&graph, "a", "a", &mut BTreeSet::new()).as_deref(),
        Some("b -> c -> a")
    );
    assert_eq!(way(&graph, "d", "d", &mut BTreeSet::new()), None);
}
