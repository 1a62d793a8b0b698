//! Suite `cli`: the program as its user meets it, as far as no PostgreSQL is needed.

use std::io::Write;
use std::process::{Command, Output};

use pgstream::config::keys;

const URL: &str = "postgres://postgres:postgres@localhost:5432?sslmode=disable";

/// The program with these arguments and none of the environment's `PGSTREAM_*`.
fn pgstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgstream"));
    command.args(arguments);
    for key in &keys::KEYS {
        command.env_remove(key.name);
    }
    command
}

/// What a run of the program came to.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Run {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Run {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn env_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
    file.write_all(text.as_bytes())
        .expect("the temporary folder has room");
    file
}

fn yaml_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new()
        .suffix(".yaml")
        .tempfile()
        .expect("the temporary folder is writable");
    file.write_all(text.as_bytes())
        .expect("the temporary folder has room");
    file
}

#[test]
fn version() {
    for arguments in [["version"], ["--version"], ["-V"]] {
        let run = run(&mut pgstream(&arguments));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert_eq!(run.stdout, format!("pgstream {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let program = run(&mut pgstream(&["--help"]));
    assert_eq!((program.code, program.stderr.as_str()), (Some(0), ""));
    let commands = program.stdout.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let commands: Vec<_> = commands
        .lines()
        .filter(is_name)
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    for expected in [
        "init",
        "tear-down",
        "endpoints",
        "deadletters",
        "listen",
        "version",
    ] {
        assert!(commands.contains(&expected), "{commands:?}");
    }
    for command in commands {
        has_help(&[command]);
    }
    for command in [
        "list", "show", "pause", "resume", "disable", "enable", "set", "move",
    ] {
        has_help(&["endpoints", command]);
    }
    for command in ["list", "show", "replay", "discard"] {
        has_help(&["deadletters", command]);
    }
    has_help(&["config", "show"]);
}

/// Whether the command that these words name has help, however it is asked for.
#[track_caller]
fn has_help(words: &[&str]) {
    for arguments in [
        [words, &["--help"]].concat(),
        [words, &["-h"]].concat(),
        [&["help"], words].concat(),
    ] {
        let run = run(&mut pgstream(&arguments));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let command = words.join(" ");
        let usage = format!("Usage: pgstream {command}");
        assert!(run.stdout.starts_with(&usage), "{}", run.stdout);
        let example = format!("Examples:\n  pgstream {command}");
        assert!(run.stdout.contains(&example), "{}", run.stdout);
    }
}

#[test]
fn what_is_not_known_is_refused_with_the_nearest_that_is() {
    for (arguments, expected) in [
        (
            &["inti"][..],
            "the command \"inti\" is not known: did you mean init?",
        ),
        (&["teardown"], "did you mean tear-down?"),
        (
            &["init", "--pgulr", URL],
            "the option --pgulr is not known: did you mean --pgurl?",
        ),
        (
            &["listen", "--prot=1"],
            "the option --prot is not known: did you mean --port?",
        ),
        (
            &["listen", "--pgurl", URL],
            "the option --pgurl is not one of the command listen",
        ),
        (
            &["endpoints", "lst"],
            "the command endpoints \"lst\" is not known: did you mean endpoints list?",
        ),
        (&["endpoints", "show"], "the argument <url> is missing"),
        (
            &["endpoints"],
            "no command given: write one of list, show, pause,",
        ),
        (
            &["deadletters", "replay", "--dryrun"],
            "the option --dryrun is not known: did you mean --dry-run?",
        ),
        (&["version", "--log-level=trce"], "did you mean trace?"),
        (&["listen", "--port", "70000"], "--port"),
        (&["init", "--timeout", "0s"], "--timeout"),
        (&[], "no command given: write one of init, tear-down,"),
    ] {
        let run = run(&mut pgstream(arguments));
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(
            run.stderr.starts_with("error: ") && run.stderr.contains(expected),
            "{}",
            run.stderr
        );
        assert!(
            run.stderr.contains("--help` to see what can be written"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_missing_url_is_named_with_all_the_ways_to_give_it() {
    for command in ["init", "tear-down", "destroy"] {
        let run = run(&mut pgstream(&[command]));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        for expected in [
            "PGSTREAM_POSTGRES_LISTENER_URL: is not set",
            "--pgurl",
            "--config",
        ] {
            assert!(run.stderr.contains(expected), "{}", run.stderr);
        }
    }
}

#[test]
fn all_problems_of_a_configuration_are_reported_at_once() {
    let file = env_file(
        "PGSTREAM_POSTGRES_LISTENER_URI=postgres://u:hunter2@h\n\
         PGSTREAM_METRICS_ADDRESS=9901\n\
         PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT=0\n",
    );
    let path = file.path().to_str().unwrap();
    let run = run(pgstream(&[
        "init",
        "-c",
        path,
        "--postgres-url=postgres://u:hunter2@h?sslmode=required",
    ])
    .env("PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME", "My-Slot"));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    for expected in [
        "invalid configuration, 5 problems:",
        &format!(
            "{path}: PGSTREAM_POSTGRES_LISTENER_URI: is not a known key: did you mean PGSTREAM_POSTGRES_LISTENER_URL?"
        ),
        &format!("{path}: PGSTREAM_METRICS_ADDRESS: \"9901\" is not an address with a port"),
        &format!(
            "{path}: PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT: \"0\" is not a whole number from 1 to 10000"
        ),
        "flag --pgurl: sslmode is \"required\", which is not known: write disable",
        "environment variable PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME: \"My-Slot\" is not a slot name",
    ] {
        assert!(run.stderr.contains(expected), "{expected}\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let broken = env_file("PGSTREAM_POSTGRES_LISTENER_URL=hunter2 and more\n");
    let path = broken.path().to_str().unwrap();
    for (file, expected) in [
        (
            "/nonexistent/p.env",
            "cannot read the configuration file /nonexistent/p.env",
        ),
        (path, &format!("{path}, line 1: is not KEY=VALUE")),
    ] {
        let run = run(&mut pgstream(&["init", "--config", file, "--pgurl", URL]));
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
}

#[test]
fn a_server_that_is_not_there_is_a_failure_and_not_a_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgres://u:hunter2@/d?host={}", directory.path().display());
    let run = run(&mut pgstream(&["init", "--pgurl", &url]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn a_wrong_value_is_told_apart_before_anything_is_connected_to() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgres://u@/d?host={}", directory.path().display());
    let wrong = ["endpoints", "set", "http://h", "--timeout=soon", "--pgurl", &url];
    let run = run(&mut pgstream(&wrong));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.starts_with("error: --timeout: "), "{}", run.stderr);
}

#[test]
fn levels_from_trace_on_are_in_the_binary_and_the_options_stand_anywhere() {
    for arguments in [
        &["--log-level", "trace", "version"][..],
        &["version", "--log-level", "trace"],
        &["version", "--log-level=trace"],
    ] {
        let run = run(&mut pgstream(arguments));
        assert!(
            run.stderr.contains(" TRCE starting"),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(
            !run.stderr.contains('\u{1b}'),
            "colours without a terminal: {}",
            run.stderr
        );
    }
    let quiet = run(&mut pgstream(&["version", "--log-level", "debug"]));
    assert_eq!(quiet.stderr, "");
}

#[test]
fn the_log_for_machines_is_json_errors_included() {
    let run = run(&mut pgstream(&[
        "init",
        "--log-format",
        "json",
        "--log-level=trace",
    ]));
    assert_eq!(run.code, Some(2));
    let lines: Vec<serde_json::Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [starting, error] = lines.as_slice() else {
        panic!("{}", run.stderr)
    };
    assert_eq!(
        (&starting["level"], &starting["msg"]),
        (&"trace".into(), &"starting".into())
    );
    assert_eq!(error["level"], "critical");
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .starts_with("invalid configuration: "),
        "{error}"
    );
}

#[test]
fn an_unknown_variable_of_the_environment_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgres:///d?host={}", directory.path().display());
    let run = run(pgstream(&["init", "--pgurl", &url]).env("PGSTREAM_WEBHOOK_NOTIFIER_WORKERS", "2"));
    assert!(
        run.stderr
            .contains(" WARN environment variable PGSTREAM_WEBHOOK_NOTIFIER_WORKERS"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains("did you mean PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT?"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_effective_configuration_has_origins_and_no_passwords() {
    let yaml = yaml_file(
        "source:\n  postgres:\n    url: postgres://u:hunter2@h/d\nmodifiers:\n  filter:\n    include_tables: [a, 'b.*']\n",
    );
    let path = yaml.path().display().to_string();
    let show = |more: &[&str]| {
        let mut arguments = vec!["config", "show", "-c", &path, "--replication-slot", "s1"];
        arguments.extend(more);
        let run = run(pgstream(&arguments).env("PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT", "9"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(!run.stdout.contains("hunter2"), "{}", run.stdout);
        run.stdout
    };
    let text = show(&[]);
    for words in [
        ["PGSTREAM_POSTGRES_LISTENER_URL", ":***@h", &format!("{path}:3")],
        [
            "PGSTREAM_POSTGRES_REPLICATION_SLOT_NAME",
            " s1 ",
            "flag --replication-slot",
        ],
        ["PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT", " 9 ", "environment"],
        ["PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT", " 10s ", "default"],
        ["PGSTREAM_FILTER_INCLUDE_TABLES", " a,b.* ", &format!("{path}:6")],
        ["PGSTREAM_INJECTOR_STORE_POSTGRES_URL", " - ", "default"],
    ] {
        let line = text.lines().find(|line| line.starts_with(words[0])).unwrap();
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    let json: serde_json::Value = serde_json::from_str(&show(&["--json"])).unwrap();
    let of = |variable: &str| {
        let mut lines = json.as_array().unwrap().iter();
        lines.find(|line| line["variable"] == variable).unwrap().clone()
    };
    assert_eq!(
        of("PGSTREAM_FILTER_INCLUDE_TABLES"),
        serde_json::json!({
            "variable": "PGSTREAM_FILTER_INCLUDE_TABLES",
            "path": "modifiers.filter.include_tables",
            "value": "a,b.*",
            "origin": {"kind": "file", "file": path, "line": 6, "column": 5},
        })
    );
    assert_eq!(
        of("PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT")["origin"],
        serde_json::json!({"kind": "environment", "variable": "PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT"})
    );
    assert_eq!(
        of("PGSTREAM_INJECTOR_STORE_POSTGRES_URL")["value"],
        serde_json::Value::Null
    );
}

#[test]
fn an_invalid_configuration_is_refused_and_not_shown() {
    let yaml = yaml_file("source:\n  postgers:\n    url: postgres://u:hunter2@h/d\n");
    let path = yaml.path().display().to_string();
    for command in [
        &["config", "show"][..],
        &["run"],
        &["init"],
        &["endpoints", "list"],
    ] {
        let run = run(pgstream(command).args(["-c", &path]));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        let expected =
            format!("{path}:2:3: source.postgers: is not a known key: did you mean source.postgres?");
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
        assert!(
            !run.stderr.contains("hunter2") && run.stdout.is_empty(),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn the_yaml_of_the_readme_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap_or_default();
    let example = readme
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let yaml = yaml_file(example.unwrap());
    let run = run(pgstream(&["config", "show", "-c"]).arg(yaml.path()));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn the_readme_has_the_table_of_the_configuration() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap_or_default();
    let table = readme
        .split("<!-- configuration -->")
        .nth(1)
        .unwrap_or_default()
        .trim();
    let expected = keys::markdown_table();
    assert!(
        table == expected.trim(),
        "README.md should have this table between two lines <!-- configuration -->:\n\n{expected}"
    );
}
