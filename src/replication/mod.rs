//! The replication connection: records out, confirmed LSN in.
