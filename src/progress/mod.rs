//! What is settled, and how many bytes are in flight.
//!
//! Pure: no clock, no I/O. [`Ledger`] decides which LSN may be confirmed to PostgreSQL, [`Budget`] how much may be
//! held in memory. Settle tokens go to `delivery`, the confirmed LSN to `replication`; neither knows the other.

mod budget;
mod ledger;
mod visibility;

pub use budget::{Budget, Share};
pub use ledger::{Group, Ledger, SettleToken, Transaction};
pub use visibility::{ParseVisibilityError, Visibility};
