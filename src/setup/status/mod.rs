//! `status`: how pgstream does, as the databases tell it.
//!
//! Both databases are looked at side by side, each part of them by itself and until one common deadline: what is down, or
//! hangs on somebody's lock, is said to be so, and hides nothing else. What is found is written down in one document
//! ([`document`]), which `judge` reads as an operator would.

mod deliveries;
pub mod document;
mod history;
mod identity;
mod judge;
mod source;
mod store;

use tokio::time::Instant;

use self::document::{ConfigReport, Status};
pub(super) use self::judge::{config_problems, encoding_hint, unreachable};
use super::findings::LIMIT;
use super::reach::side_by_side;
use crate::config::Targets;
use crate::filter::{PluginOptions, TableFilter};

/// What to look at.
#[derive(Clone, Debug)]
pub struct StatusOptions {
    /// The databases and the slot; `None` where the configuration does not even say that.
    pub targets: Option<Targets>,
    /// Which tables' changes are taken.
    pub filter: TableFilter,
    /// Which tables the output plugin is told of by name.
    pub plugin: PluginOptions,
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
    let ((source, of_source), (store, of_store)) = side_by_side(
        targets,
        deadline,
        async |pool| source::look(pool, targets, deadline).await,
        async |pool| store::look(pool, &targets.slot, deadline).await,
    )
    .await;
    judge::judge(options, targets, config, [source, store], (of_source, of_store))
}
