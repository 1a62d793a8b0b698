//! The log of schema changes: model.
