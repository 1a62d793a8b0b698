//! Placeholder until the wal2json bench lands.
fn main() {}
