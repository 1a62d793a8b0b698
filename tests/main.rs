//! The integration tests: one binary, a module a suite, each on a PostgreSQL that it starts itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there and then")]

mod support;

mod api;
mod backfill;
mod backlog;
mod batches;
mod boundaries;
mod check;
mod cli;
mod connecting;
mod crash;
mod ddl;
mod ddl_forms;
mod delivery;
mod demo;
mod encoding;
mod failover;
mod filters;
mod hand_over;
mod init;
mod injector;
mod injector_model;
mod isolation;
mod listen;
mod logs;
mod messages;
mod metrics;
mod operator;
mod outcomes;
mod payloads;
mod preconditions;
mod probes;
mod reconnecting;
mod regress;
mod resume;
mod retention;
mod running;
mod schema_log_store;
mod snapshot;
mod standby;
mod status;
mod store;
mod stream;
mod tear_down;
mod tls;
mod tutorial;
mod unsendable;
mod upgrade;
mod watch;
