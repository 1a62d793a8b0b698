//! What a look at the databases comes to: what is wrong, what mends it, and what could not be looked at.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::Precondition;

/// The version of the documents that `status` and `check` give. Members are added without another one.
pub const DOCUMENT_VERSION: u32 = 1;

/// How long a look may take, whatever is down. The rest of the five seconds that are promised is for the program.
pub(super) const LIMIT: Duration = Duration::from_secs(4);
/// How long one statement of it may take.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_secs(3);

/// Something that is wrong, or may become so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What programs call it.
    pub code: &'static str,
    /// What is the matter.
    pub message: String,
    /// What mends it.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl From<Precondition> for Finding {
    fn from(lacking: Precondition) -> Self {
        Self::new(lacking.code(), lacking.problem(), lacking.remedy())
    }
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is no problem.
    Healthy,
    /// There are problems.
    Problems,
    /// Nothing could be looked at.
    Unknown,
}

impl Verdict {
    /// What these problems come to, where a database could be looked at or none.
    pub(super) fn of(is_anything_reached: bool, problems: &[Finding]) -> Self {
        match (is_anything_reached, problems.is_empty()) {
            (false, _) => Self::Unknown,
            (true, true) => Self::Healthy,
            (true, false) => Self::Problems,
        }
    }
}

/// A part that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotLookedAt {
    /// Which part, as the documents name it.
    pub section: &'static str,
    /// Why not.
    pub reason: String,
}

impl NotLookedAt {
    pub(super) fn finding(&self) -> Finding {
        Finding::new(
            "not_looked_at",
            format!(
                "cannot tell about {}: {}",
                self.section.replace('_', " "),
                self.reason
            ),
            "look whether the server is overloaded, or somebody locks tables of schema pgstream (SELECT pid, \
             pg_blocking_pids(pid), query FROM pg_stat_activity WHERE application_name = 'pgstream'), and ask again",
        )
    }
}

/// Does something until the deadline, or says why it could not be done.
pub(super) async fn by<T, E: Error>(
    deadline: Instant,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout_at(deadline, work).await {
        Ok(done) => done.map_err(|error| chain(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Keeps what was found, and notes what was not.
pub(super) fn keep<T>(
    section: &'static str,
    looked: Result<T, String>,
    missing: &mut Vec<NotLookedAt>,
) -> Option<T> {
    looked
        .map_err(|reason| missing.push(NotLookedAt { section, reason }))
        .ok()
}

/// An error with its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
