//! pgstream streams the changes of a PostgreSQL database to webhooks.

pub mod api;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod endpoint;
pub mod event;
pub mod http_server;
pub mod pipeline;
pub mod progress;
pub mod receiver;
pub mod replication;
pub mod schema_log;
pub mod setup;
pub mod store;
pub mod subscription;
pub mod telemetry;
