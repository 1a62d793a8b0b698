//! Suite `init`.
