//! The demonstration: a throwaway PostgreSQL and a short story of changes, shown next to the webhooks they cause.
//!
//! Owns [`cluster`], which finds an installed PostgreSQL and runs a server of it in a temporary folder; the
//! integration tests start theirs with it too. Knows nothing of replication or delivery: it uses the program from
//! outside, as an operator would.

pub mod cluster;
