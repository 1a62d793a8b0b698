//! What is read of which text, and what is said of what cannot be.

use super::*;

fn values(text: &str) -> Vec<(&'static str, String)> {
    let Document { entries, faults } = parse(text);
    assert_eq!(faults, [], "{text}");
    entries
        .into_iter()
        .map(|entry| (entry.key.path, entry.value))
        .collect()
}

/// The faults of a text, as `line:column: path: text`.
fn faults(text: &str) -> Vec<String> {
    let line = |fault: Fault| {
        let Position { line, column } = fault.position;
        format!("{line}:{column}: {}: {}", fault.path, fault.text)
    };
    parse(text).faults.into_iter().map(line).collect()
}

#[test]
fn values_are_the_text_that_was_written() {
    let text = "# a comment\n\
        source:\n  postgres:\n    url: 'postgres://u:p#w@h/d' # another\n    replication: {replication_slot: \"a_slot\"}\n\
        target:\n  webhooks:\n    notifier:\n      worker_count: 0012\n      client_timeout: 1m 30s\n      disable_retries: yes\n      max_queue_bytes: 100MiB\n";
    assert_eq!(
        values(text),
        [
            ("source.postgres.url", "postgres://u:p#w@h/d".to_owned()),
            (
                "source.postgres.replication.replication_slot",
                "a_slot".to_owned()
            ),
            ("target.webhooks.notifier.worker_count", "0012".to_owned()),
            ("target.webhooks.notifier.client_timeout", "1m 30s".to_owned()),
            ("target.webhooks.notifier.disable_retries", "yes".to_owned()),
            ("target.webhooks.notifier.max_queue_bytes", "100MiB".to_owned()),
        ]
    );
}

#[test]
fn lists_and_single_values_are_the_same() {
    for text in [
        "modifiers:\n  filter:\n    include_tables: [a, 'b.*']\n",
        "modifiers:\n  filter:\n    include_tables:\n      - a\n      - \"b.*\"\n",
        "modifiers: {filter: {include_tables: 'a,b.*'}}",
    ] {
        assert_eq!(
            values(text),
            [("modifiers.filter.include_tables", "a,b.*".to_owned())],
            "{text}"
        );
    }
}

#[test]
fn the_end_of_a_block_of_lines_is_no_part_of_the_value() {
    for style in ['|', '>'] {
        let text = format!("source:\n  postgres:\n    url: {style}\n      postgres://h/d\n\n    mode: x\n");
        assert_eq!(
            values(&text),
            [
                ("source.postgres.url", "postgres://h/d".to_owned()),
                ("source.postgres.mode", "x".to_owned())
            ]
        );
    }
}

#[test]
fn what_is_empty_sets_nothing() {
    for text in [
        "",
        "---\n",
        "# nothing\n",
        "~",
        "source:\n",
        "source:\n  postgres:\n    # url: x\n",
        "source: {postgres: {url: , mode: null}}",
    ] {
        assert_eq!(values(text), [], "{text}");
    }
}

#[test]
fn faults_say_where_and_what_to_write() {
    for (text, expected) in [
        (
            "source:\n  postgres:\n    ulr: x\n    mode: y\n",
            "3:5: source.postgres.ulr: is not a known key: did you mean source.postgres.url?",
        ),
        (
            "source:\n  postgres:\n    replication_slot: x\n",
            "3:5: source.postgres.replication_slot: is not a known key: did you mean source.postgres.replication.replication_slot?",
        ),
        (
            "modifiers:\n  injector: {zzz: {a: [1, {b: 2}]}}\n",
            "2:14: modifiers.injector.zzz: is not a known key: known here: schemalog_url, schemalog_retention",
        ),
        (
            "source: {postgres: {url: a, url: b}}",
            "1:29: source.postgres.url: is there twice: keep one of them",
        ),
        (
            "source:\nsource:\n",
            "2:1: source: is there twice: keep one of them",
        ),
        (
            "source:\n  postgres: [url]\n",
            "2:13: source.postgres: is a section: write what is in it below, indented, as `name: value`; known here: url, mode, replication, backoff, disable_retries, heartbeat_interval, snapshot",
        ),
        (
            "source: {postgres: {url: [a]}}",
            "1:26: source.postgres.url: takes one value",
        ),
        (
            "modifiers: {filter: {include_tables: {a: b}}}",
            "1:38: modifiers.filter.include_tables: takes one value or a list of them",
        ),
        (
            "modifiers: {filter: {include_tables: [a, ~]}}",
            "1:42: modifiers.filter.include_tables: has an element without a value: remove it",
        ),
        (
            "source: {postgres: {mode: &a x, url: *a}}",
            "1:38: source.postgres.url: is an alias: write the value itself",
        ),
        (
            "source: {postgres: {url: !env DB}}",
            "1:26: source.postgres.url: has the tag !env, which means nothing here: remove it",
        ),
        (
            "source: {? [a] : b}",
            "1:12: source: has something here that is no name: write `name: value`",
        ),
        (
            "source: {postgres: {url:postgres://u:hunter2@h/d, mode: x}}",
            "1:21: source.postgres: has something here that is no name: write `name: value`, with a blank behind the colon",
        ),
        (
            "modifiers:\n  injector:\n    enabled: true\n",
            "3:5: modifiers.injector.enabled: is not a known key: known here: schemalog_url, schemalog_retention",
        ),
        (
            "PGSTREAM_POSTGRES_LISTENER_URL=postgres://u:hunter2@h/d\n",
            "1:1: : has no sections, as a file of YAML does (one of KEY=VALUE lines has another name): what it holds is a section: write what is in it below, indented, as `name: value`; known here: source, target, modifiers, instrumentation",
        ),
        (
            "source:\n---\nsource:\n",
            "3:1: : a second document begins here: a configuration is one document",
        ),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn syntax_that_is_broken_is_told_with_its_place() {
    for (text, place) in [
        ("source: {postgres:", "2:"),
        ("source:\n\tpostgres:\n", "2:"),
        ("a: b: c", "1:"),
        ("modifiers:\n  filter:\n    include_tables:\n      - *.*\n", "4:"),
    ] {
        let faults = faults(text);
        let last = faults.last().unwrap();
        assert!(
            !text.contains('*') || last.contains("belongs in quotes"),
            "{last}"
        );
        assert!(
            last.starts_with(place) && last.contains("is not YAML"),
            "{text:?}: {faults:?}"
        );
    }
}

#[test]
fn nesting_without_end_is_read_to_the_end() {
    for open in ["[", "{a: "] {
        let text = format!("source: {}", open.repeat(50_000));
        assert!(!parse(&text).faults.is_empty());
    }
}
