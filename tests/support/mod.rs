//! What the suites share: the throwaway cluster, the scripted receiver, the program under test.

pub(crate) mod database;
pub(crate) mod program;
pub(crate) mod receiver;
