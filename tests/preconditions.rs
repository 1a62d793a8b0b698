//! Suite `preconditions`.
