//! pgstream streams the changes of a PostgreSQL database to webhooks: at least once, and in order per row.
//!
//! # The rooms
//!
//! | room | owns |
//! |---|---|
//! | [`cli`] | the command line: one file a command |
//! | [`config`] | flags, environment and files become one validated configuration |
//! | [`telemetry`] | the log, and what rooms count with |
//! | [`run`](mod@run) | wiring: builds the rooms, connects them, and owns their end |
//! | [`connect`] | from a URL to an open session: TLS, authentication, the choice among servers |
//! | [`replication`] | the replication connection: records out, confirmed LSN in |
//! | [`pipeline`] | from a record to deliveries: filter, inject, match, encode, submit |
//! | [`schema_log`] | what the tables of the changes look like: known from the schema log, and injected into events |
//! | [`snapshot`] | existing rows: which tables are read, by whom, and how far that has come |
//! | [`event`] | the change as it is delivered: its stable id, its place in the order, its payload |
//! | [`progress`] | what is settled, and how many bytes are in flight (pure) |
//! | [`delivery`] | lanes, workers, exchanges and backlogs: from a submitted delivery to its outcome |
//! | [`subscription`] | what is subscribed to: model, matcher, cache |
//! | [`endpoint`] | a URL, how to talk to it, and how it does |
//! | [`store`] | PostgreSQL as a database: migrations, and one file for each table |
//! | [`setup`] | what `init`, `check`, `status`, `skip` and `tear-down` do |
//! | [`monitoring`] | metrics and probes: what all rooms have counted, collected when somebody asks |
//! | [`operator`] | what an operator can do to endpoints and dead letters, and ask for in snapshots and backfills; `cli` and `api` call it |
//! | [`http_server`], [`api`] | the subscription server |
//! | [`filter`], [`patterns`], [`backoff`] | small rules that several rooms share: which tables, by which patterns; how long to wait (pure) |
//! | [`receiver`] | receivers of webhooks: `listen`, and the one of the demo |
//! | [`demo`] | a throwaway PostgreSQL and a short story of changes |
//!
//! Bytes become meaning, and meaning bytes, in a package of its own: [`pgstream_proto`].
//!
//! # The way of the data
//!
//! One direction, no hand-backs but the acknowledgement:
//!
//! ```text
//! socket -> PgCodec -> CopyData(Bytes) -> XLogData / Keepalive -> wal2json record (borrowed spans)
//!   -> injector -> matcher -> payload (encoded once, shared by all receivers) -> lane -> worker -> POST
//!   -> outcome -> progress -> confirmed LSN -> StandbyStatusUpdate
//!
//! lane <-> backlog (store): what an endpoint does not take, and new deliveries behind it
//! ```
//!
//! # Who may know what
//!
//! A test reads the sources and holds them to these rules (`tests/boundaries.rs`).
//!
//! 1. Only `replication` touches the replication socket, once `connect` has opened it, and one task owns it. Only `connect` knows
//!    rustls: what TLS means is decided in one place.
//! 2. Only `delivery::worker` knows ureq.
//! 3. Only `store` knows sqlx. It imports nothing but leaf models, what an event is, the parsed URL, and `connect`.
//! 4. Only `api` and `receiver` know warp; only they and `http_server` know hyper; only `monitoring` and `telemetry` know
//!    prometheus.
//! 5. `replication` and `delivery` never import each other: `pipeline` and `progress` are between them.
//! 6. `matcher`, `health`, `lanes`, `window`, `retry`, `outcome`, `feedback`, `vitals`, `readiness`, `progress`, `filter`, `patterns`, of
//!    `snapshot` the choice of tables, their ranges and rows, and of `setup` the judgement of what was found, are pure: no
//!    clock, no I/O; time is an argument.
//! 7. `pgstream_proto` imports nothing of this package.
//! 8. There are no circles between rooms.

pub mod api;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod connect;
pub mod delivery;
pub mod demo;
pub mod endpoint;
pub mod event;
pub mod filter;
pub mod http_server;
pub mod monitoring;
pub mod operator;
pub mod patterns;
pub mod pipeline;
pub mod progress;
pub mod receiver;
pub mod replication;
pub mod run;
pub mod schema_log;
pub mod setup;
pub mod snapshot;
pub mod store;
pub mod subscription;
pub mod telemetry;
