//! What the suites share: the throwaway cluster, the scripted receiver, the program under test.

pub mod database;
pub mod receiver;
