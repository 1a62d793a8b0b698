//! One run of the suite's parallel schedule, and how each test came out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pgstream::demo::cluster::Cluster;
use tempfile::TempDir;

/// How a test came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// With what differs from the expected results.
    Failed(String),
}

impl Outcome {
    /// Whether nothing is there that is an error or a warning and was not to be expected.
    pub(super) fn adds_no_trouble(&self) -> bool {
        let Self::Failed(differences) = self else {
            return true;
        };
        let mut added = differences.lines().filter_map(|line| line.strip_prefix('+'));
        !added.any(|line| line.starts_with("ERROR") || line.starts_with("WARNING"))
    }

    /// For people: the beginning of what differs.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Passed => "it passed".to_owned(),
            Self::Failed(differences) => differences.lines().take(60).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// A run of all tests.
pub(super) struct Run {
    pub(super) outcomes: BTreeMap<String, Outcome>,
    pub(super) took: Duration,
    /// Where the suite's C library is, whose types cannot be printed without it: by whoever reads the stream later.
    _folder: TempDir,
}

impl Run {
    pub(super) fn failed(&self) -> impl Iterator<Item = &String> {
        self.outcomes
            .iter()
            .filter(|(_, outcome)| **outcome != Outcome::Passed)
            .map(|(test, _)| test)
    }
}

/// Runs the schedule in the database `regression`, which is there already. The server's log and all that differs from
/// the expected results is kept as `NAME.log` and `NAME.diffs` in the folder of what was fetched.
pub(super) fn run(cluster: &Cluster, fetched: &Path, name: &str) -> Run {
    let folder = tempfile::Builder::new()
        .prefix("pgstream-regress-")
        .tempdir()
        .expect("the temporary folder is writable");
    // The server reads data from it and writes into it, as its own user.
    let owner = fs::metadata(cluster.data_directory())
        .expect("the data directory is there")
        .uid();
    let status = Command::new("cp")
        .args(["-r", "--"])
        .args(["regress", "lib", "pg_regress"].map(|part| fetched.join(part)))
        .arg(folder.path())
        .status()
        .expect("cp starts");
    assert!(status.success(), "cp: {status}");
    let output = folder.path().join("output");
    fs::create_dir(&output).expect("the temporary folder is writable");
    for path in [folder.path(), &output] {
        chown(path, Some(owner), None).expect("the folder can be handed to the server's user");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    }

    let input = folder.path().join("regress");
    let psql = cluster.command("psql");
    let programs = Path::new(psql.get_program()).parent().expect("it is in a folder");
    let pg_regress = folder.path().join("pg_regress");
    let mut command = cluster.command(pg_regress.to_str().expect("the folder's name is text"));
    command
        .current_dir(&output)
        .arg(format!("--inputdir={}", input.display()))
        .arg(format!("--outputdir={}", output.display()))
        .arg(format!("--dlpath={}", folder.path().join("lib").display()))
        .arg(format!("--bindir={}", programs.display()))
        .arg(format!(
            "--schedule={}",
            input.join("parallel_schedule").display()
        ))
        .arg("--use-existing")
        .arg(format!("--host={}", cluster.socket_folder().display()))
        .arg(format!("--port={}", cluster.port()))
        .args(["--user=postgres", "--dbname=regression"]);
    let started = Instant::now();
    let done = command.output().expect("pg_regress starts");
    let took = started.elapsed();
    let report = String::from_utf8_lossy(&done.stdout).into_owned();
    let differences = fs::read(output.join("regression.diffs")).unwrap_or_default();
    let differences = String::from_utf8_lossy(&differences)
        .replace(folder.path().to_str().expect("the folder's name is text"), "");
    fs::write(fetched.join(format!("{name}.diffs")), &differences).expect("the folder is writable");
    fs::write(fetched.join(format!("{name}.log")), cluster.log()).expect("the folder is writable");
    let outcomes = outcomes(&report, &differences);
    assert!(
        outcomes.len() > 100,
        "pg_regress did not run: {report}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    Run {
        outcomes,
        took,
        _folder: folder,
    }
}

/// Reads `pg_regress`'s report, a line a test (`     name   ... ok   12 ms`, `test name ... FAILED   12 ms`), and what
/// differs.
fn outcomes(report: &str, differences: &str) -> BTreeMap<String, Outcome> {
    let of_line = |line: &str| {
        let (name, verdict) = line.split_once(" ... ")?;
        let name = name.trim_start_matches("test ").trim().to_owned();
        let outcome = if verdict.starts_with("ok") {
            Outcome::Passed
        } else {
            Outcome::Failed(differences_of(&name, differences))
        };
        Some((name, outcome))
    };
    report.lines().filter_map(of_line).collect()
}

/// The part of `regression.diffs` about one test, without the names of files and their times.
fn differences_of(test: &str, differences: &str) -> String {
    let results = format!("/results/{test}.out");
    let is_heading = |line: &str| line.starts_with("diff ");
    differences
        .lines()
        .skip_while(|line| !(is_heading(line) && line.ends_with(&results)))
        .skip(3)
        .take_while(|line| !is_heading(line))
        .map(|line| format!("{line}\n"))
        .collect()
}
