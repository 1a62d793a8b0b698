//! `status`: how pgstream does, as the databases tell it.
//!
//! Both databases are looked at side by side, each part of them by itself and until one common deadline: what is down, or
//! hangs on somebody's lock, is said to be so, and hides nothing else. What is found is written down in one document
//! ([`document`]), which [`judge`] reads as an operator would.

pub mod document;
mod judge;
mod source;
mod store;

use tokio::time::{Instant, timeout_at};

use self::document::{ConfigReport, Reach, Status};
pub(super) use self::judge::{config_problems, encoding_hint, unreachable};
use super::findings::{self, LIMIT, STATEMENT_LIMIT};
use crate::config::Targets;
use crate::filter::TableFilter;
use crate::store::{PgPool, connect};

/// What to look at.
#[derive(Clone, Debug)]
pub struct StatusOptions {
    /// The databases and the slot; `None` where the configuration does not even say that.
    pub targets: Option<Targets>,
    /// Which tables' changes are taken.
    pub filter: TableFilter,
    /// What is wrong with the configuration.
    pub config_errors: Vec<String>,
}

/// Looks at everything. Takes less than five seconds.
pub async fn status(options: &StatusOptions) -> Status {
    let deadline = Instant::now() + LIMIT;
    let config = ConfigReport::new(&options.config_errors);
    let Some(targets) = &options.targets else {
        return judge::without_targets(config);
    };
    let (source, store) = reach(targets, deadline).await;
    let of_source = async {
        match &source {
            Ok(pool) => Some(source::look(pool, targets, deadline).await),
            Err(_) => None,
        }
    };
    let of_store = async {
        match &store {
            Ok(pool) => Some(store::look(pool, &targets.slot, deadline).await),
            Err(_) => None,
        }
    };
    let (of_source, of_store) = tokio::join!(of_source, of_store);
    leave([&source, &store], deadline).await;
    let reached = [
        Reach::new(&targets.source, &source),
        Reach::new(&targets.store, &store),
    ];
    judge::judge(options, targets, config, reached, (of_source, of_store))
}

/// Connects to both databases, once where they are one.
pub(super) async fn reach(
    targets: &Targets,
    deadline: Instant,
) -> (Result<PgPool, String>, Result<PgPool, String>) {
    let source = findings::by(
        deadline,
        connect::connect_to_look(&targets.source, STATEMENT_LIMIT),
    );
    if targets.source == targets.store {
        let source = source.await;
        return (source.clone(), source);
    }
    let store = findings::by(
        deadline,
        connect::connect_to_look(&targets.store, STATEMENT_LIMIT),
    );
    tokio::join!(source, store)
}

/// Takes leave of the databases, as far as there is time: a server notes who does not.
pub(super) async fn leave(pools: [&Result<PgPool, String>; 2], deadline: Instant) {
    let pools = pools.into_iter().flatten().map(PgPool::close);
    // What is not closed by then is closed with the program.
    let _ = timeout_at(deadline, futures_util::future::join_all(pools)).await;
}
