//! Zero-copy parser of wal2json format version 2 records.
