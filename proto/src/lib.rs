//! Bytes to meaning and back: the PostgreSQL wire protocol as a replication client needs it, and the records
//! that the output plugin wal2json sends over it.
//!
//! This package knows no sockets, no async runtime, no logging and nothing of `pgstream` itself.

pub mod wal2json;
