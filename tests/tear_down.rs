//! Suite `tear_down`.
