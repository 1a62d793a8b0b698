//! `pgstream status` and `check`, run for programs and for people, which have to be told the same.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::program::pgstream;

/// The promise is 5 seconds. What is asserted leaves room for a machine that does much else, and is far below what a time
/// limit of a connection would be.
const WITHIN: Duration = Duration::from_secs(9);

/// What a command found.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) text: String,
}

/// Runs the command with these arguments both ways, and compares what they say.
pub(crate) fn look(command: &str, arguments: &[&str]) -> Looked {
    look_with(command, arguments, &[])
}

/// Does the same with settings of the environment.
pub(crate) fn look_with(command: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Looked {
    let arguments = [&[command], arguments].concat();
    let with = |json: &[&str]| {
        let mut program = pgstream(&[&arguments, json].concat());
        program.envs(settings.iter().copied());
        program
    };
    let (code, json) = output(with(&["--json"]));
    let json: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let (code_of_text, text) = output(with(&[]));
    assert_eq!(code, code_of_text, "{json:#}\n{text}");
    let looked = Looked { code, json, text };
    looked.assert_consistent();
    looked
}

fn output(mut command: Command) -> (i32, String) {
    let begun = Instant::now();
    let output = command.output().expect("the program runs");
    assert!(begun.elapsed() < WITHIN, "{:?}: {output:?}", begun.elapsed());
    let text = String::from_utf8(output.stdout).expect("the program prints UTF-8");
    (output.status.code().expect("the program ends by itself"), text)
}

impl Looked {
    /// The codes of the problems.
    pub(crate) fn problems(&self) -> Vec<&str> {
        codes(&self.json["problems"])
    }

    /// The codes of the hints.
    pub(crate) fn hints(&self) -> Vec<&str> {
        codes(&self.json["hints"])
    }

    /// The parts that were not looked at.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let missing = self.json["not_looked_at"].as_array().expect("a list");
        missing.iter().filter_map(|it| it["section"].as_str()).collect()
    }

    /// The problem of this code, as it reads.
    pub(crate) fn problem(&self, code: &str) -> (&str, &str) {
        let problems = self.json["problems"].as_array().expect("a list");
        let found = problems.iter().find(|it| it["code"] == code);
        let found = found.unwrap_or_else(|| panic!("no {code} in {:#}", self.json));
        let text = |name: &str| found[name].as_str().expect("a text");
        (text("message"), text("remedy"))
    }

    /// The verdict, the exit code and both ways of printing say the same.
    fn assert_consistent(&self) {
        let Self { code, json, text } = self;
        assert_eq!(json["version"], 1, "{json:#}");
        assert_documented(json);
        let verdict = match code {
            0 => "healthy",
            1 => "problems",
            2 => "unknown",
            other => panic!("exit code {other}: {json:#}"),
        };
        assert_eq!(json["status"], verdict, "{json:#}");
        assert_eq!(*code == 0, self.problems().is_empty(), "{json:#}");
        assert_eq!(*code == 0, text.starts_with("SUCCESS  "), "{text}");
        // Figures may have changed in between.
        let without_digits = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        let text = without_digits(text);
        for finding in ["problems", "hints"]
            .iter()
            .flat_map(|list| json[*list].as_array().unwrap())
        {
            for member in ["message", "remedy"] {
                let said = finding[member].as_str().expect("a text");
                assert!(!said.is_empty(), "{finding}");
                assert!(text.contains(&without_digits(said)), "{said} is not in {text}");
            }
        }
    }
}

fn codes(findings: &Value) -> Vec<&str> {
    let findings = findings.as_array().expect("a list");
    findings.iter().filter_map(|it| it["code"].as_str()).collect()
}

/// Every member and every code is described, but for those of other commands' documents.
fn assert_documented(value: &Value) {
    const DOCUMENTATION: &str = include_str!("../../docs/status.md");
    let is_described = |name: &str| DOCUMENTATION.contains(&format!("`{name}`"));
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                assert!(is_described(name), "docs/status.md does not describe {name}");
                match (name.as_str(), value.as_str()) {
                    ("tables" | "backfills", _) => {}
                    ("code", Some(code)) => {
                        assert!(is_described(code), "docs/status.md does not describe {code}");
                    }
                    _ => assert_documented(value),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(assert_documented),
        _ => {}
    }
}
