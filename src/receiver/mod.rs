//! Receivers of webhooks: the one that users try things out with, and the one of the demo.
//!
//! Both take whatever is posted to any path. This room knows nothing of how events come about: what arrives
//! is a body, shown as it is.
//!
//! - [`listen`]: `pgstream listen`, which prints every event.
//! - [`embedded`]: a receiver on a free port that hands every event over on a channel.
//! - [`pretty`]: JSON laid out for reading. Pure.

pub mod embedded;
pub mod listen;
mod output;
pub mod pretty;
mod requests;

pub use embedded::{EmbeddedReceiver, ReceivedEvent};
pub use listen::{ListenError, ListenOptions, ListenSummary};
