//! What the requests work on.

use slog::Logger;

use super::monitoring::Shown;
use crate::snapshot::Asking;
use crate::store::PgPool;
use crate::subscription::Subscriptions;

/// What the requests work on.
#[derive(Clone)]
pub struct State {
    /// The store's database.
    pub store: PgPool,
    /// The set in use, which a change is put into before it is answered.
    pub subscriptions: Subscriptions,
    /// Where backfills are asked for.
    pub asking: Asking,
    /// What is shown of the program, if it is one that is monitored.
    pub shown: Option<Shown>,
    /// Where failures of the store are logged.
    pub log: Logger,
}
