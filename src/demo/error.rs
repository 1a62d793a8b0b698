//! Why the story could not be told to its end.

use std::io;
use std::net::SocketAddr;

use crate::api::ApiError;
use crate::config::ConfigError;
use crate::http_server::BindError;
use crate::run::RunError;
use crate::setup::SetupError;

use super::cluster::ClusterError;

/// Trouble in the demonstration. Whatever it is, everything has been cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no throwaway server; the text says what to install.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The demonstration's own configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `pgstream init` failed.
    #[error("pgstream init failed on the throwaway server")]
    Setup(#[from] SetupError),
    /// The subscription server found no port.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The receiver found no port.
    #[error("cannot start the receiver of the webhooks")]
    Receiver(#[from] BindError),
    /// `pgstream run` failed.
    #[error("pgstream run failed on the throwaway server")]
    Run(#[source] Box<RunError>),
    /// `pgstream run` ended although nobody asked it to.
    #[error("pgstream run ended before the story did")]
    RunEnded,
    /// The subscription server could not be spoken to.
    #[error("cannot send the subscription to http://{api}/webhooks/subscribe")]
    Subscribe {
        /// Where it listens.
        api: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// The subscription server refused.
    #[error("the subscription server answered {answer:?} instead of 201")]
    Refused {
        /// The first line of its answer.
        answer: String,
    },
    /// psql cannot be started.
    #[error("cannot run the psql of the PostgreSQL installation: install its client programs as well")]
    Psql(#[source] io::Error),
    /// A statement failed.
    #[error("the statement {statement:?} failed: {message}")]
    Statement {
        /// The statement.
        statement: &'static str,
        /// What psql said.
        message: String,
    },
    /// Webhooks did not arrive.
    #[error("{seconds} s after {statement:?}, webhooks are still missing: {missing}")]
    Missing {
        /// The statement that should have caused them.
        statement: &'static str,
        /// What should have arrived.
        missing: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A webhook arrived that no statement has caused.
    #[error("a webhook arrived that the statement did not cause: {0}")]
    Unexpected(String),
    /// The story cannot be printed.
    #[error("cannot print")]
    Output(#[from] io::Error),
    /// A signal ended it.
    #[error("interrupted: the throwaway server is stopped, and its folder removed")]
    Interrupted,
    /// A thread or task panicked.
    #[error("a part of the demonstration panicked")]
    Panicked(#[from] tokio::task::JoinError),
}
