//! What `init` and `tear-down` do.
