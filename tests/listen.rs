//! Suite `listen`.
