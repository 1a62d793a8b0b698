//! Flags, environment and files become one validated configuration.
