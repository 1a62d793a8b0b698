//! The schema log and the injector.

mod known;
pub mod model;
mod needed;

pub use known::KnownTables;
