//! The only room that knows sqlx: what pgstream keeps in PostgreSQL, and what it asks PostgreSQL about itself.
//!
//! Two sets of objects, each with its own numbered migrations in `sql/` (see [`mod@migrate`]): the schema log with its
//! event triggers lives in the *source* database, the subscriptions live in the *store* database, which is usually
//! the same. Both are in schema `pgstream`.
//!
//! - [`mod@connect`]: the pool, and the settings every session of ours is pinned to. `relay`: what sqlx cannot do.
//! - [`mod@migrate`]: brings a database up to date, and takes everything out of it again.
//! - [`subscriptions`]: the table `pgstream.webhook_subscriptions`, and news of its changes.
//! - [`endpoints`], [`backlog`], [`dead_letters`]: how to talk to endpoints, and what they did not take.
//! - [`endpoint_settings`], [`letters`], [`relocation`]: what an operator changes of them. [`known`]: what all tables
//!   together know of endpoints.
//! - [`figures`]: what monitoring asks of them.
//! - [`schema_log`]: which entries of the schema log have been applied, and which are not needed any more.
//! - [`snapshot`]: the tables of the source, sessions that read their rows, and how far that has come.
//! - [`drainer`]: the lock of the one program that works off the backlogs.
//! - [`sources`]: what is remembered of a source between two starts.
//! - [`catalog`]: what the source's catalogs say about a table.
//! - [`server`]: the server's settings and the role's rights, as `init` has to know them.
//! - [`slots`]: replication slots: look, make, drop. [`slot_status`]: how ours does.
//! - [`replica_identity`]: tables whose updates and deletes name no row.
//! - [`blockers`]: who else's transaction something waits for.
//!
//! Imports only leaf `model` modules of other rooms, and `connect`. Queries are checked by the integration tests, not by sqlx's
//! macros, which would need a database to build.

pub mod backlog;
mod backlog_lock;
pub mod blockers;
pub mod catalog;
pub mod connect;
pub mod dead_letters;
pub mod drainer;
pub mod endpoint_settings;
pub mod endpoints;
mod error;
pub mod figures;
pub mod known;
pub mod letters;
mod listening;
pub mod migrate;
mod relay;
pub mod relocation;
pub mod replica_identity;
pub mod schema_log;
pub mod schema_log_mode;
pub mod server;
pub mod slot_status;
pub mod slots;
pub mod snapshot;
pub mod sources;
pub mod subscriptions;

/// A few connections to one database. Other rooms pass it on and never look inside.
pub use sqlx::PgPool;

pub use connect::connect;
pub use error::StoreError;
pub use migrate::{MigrationSet, migrate};
pub use schema_log_mode::SchemaLogMode;
