//! The `pgstream` program: parse, run, exit code.

fn main() {}
