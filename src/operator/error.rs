//! Why an operator's wish was not fulfilled.

use crate::store::StoreError;

/// A wish that was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A value is wrong. Nothing has been changed.
    #[error("{message}")]
    Invalid {
        /// Which, as JSON has it; the option is the same with dashes.
        field: &'static str,
        /// What is wrong with it, and what to write instead.
        message: String,
    },
    /// Nothing knows this endpoint. Nothing has been changed.
    #[error("no endpoint has the URL {url}{}", suggestion(nearest.as_deref()))]
    UnknownEndpoint {
        /// Which value named it, as JSON has it.
        field: &'static str,
        /// The URL.
        url: String,
        /// The known one most like it, if any is.
        nearest: Option<String>,
    },
    /// There is no such backfill.
    #[error("there is no backfill {0}: `pgstream backfill --list` shows which there are")]
    UnknownBackfill(i64),
    /// There is no such dead letter.
    #[error("there is no dead letter {0}: `pgstream deadletters list` shows which there are")]
    UnknownLetter(String),
    /// Several dead letters have this `webhook-id`.
    #[error(
        "{} dead letters have the webhook-id {webhook_id}, of one endpoint each: name one by its number: {}",
        numbers.len(),
        numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
    )]
    AmbiguousLetter {
        /// The id.
        webhook_id: String,
        /// The numbers of the letters.
        numbers: Vec<i64>,
    },
    /// The endpoint stands so that this cannot be done to it. Nothing has been changed.
    #[error("{0}")]
    Standing(String),
    /// The store has not the tables that this needs.
    #[error("the store lacks the tables of this release: run `pgstream init` on it")]
    NotInitialised(#[source] StoreError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl OperatorError {
    pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            message: message.into(),
        }
    }
}

impl From<StoreError> for OperatorError {
    fn from(error: StoreError) -> Self {
        match error.sqlstate() {
            // undefined_table, invalid_schema_name
            Some("42P01" | "3F000") => Self::NotInitialised(error),
            _ => Self::Store(error),
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(known) => format!(": did you mean {known}?"),
        None => ": `pgstream endpoints list` shows which there are".to_owned(),
    }
}
