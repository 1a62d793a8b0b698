//! Suite `tutorial`.
