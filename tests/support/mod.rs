//! What the suites share: the throwaway cluster, the scripted receiver, the program under test, and the
//! world of a test of all of them together.

pub(crate) mod database;
pub(crate) mod engine;
pub(crate) mod exposition;
pub(crate) mod look;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod replica;
pub(crate) mod secured;
pub(crate) mod sessions;
pub(crate) mod versions;
pub(crate) mod world;
