//! What is subscribed to: the subscription as it is stored, the matcher, and the set in use.
//!
//! A *subscription* is a filter: which changes of which tables go to which URL. How to talk to that URL is
//! the matter of an *endpoint*, of which this room knows nothing.
//!
//! - [`model`]: one subscription, validated. A leaf: it imports no other room.
//! - [`matcher`]: an immutable set of subscriptions, and who receives a change. Pure.
//! - [`cache`]: the set in use, kept in step with the store.

pub mod cache;
pub mod matcher;
pub mod model;

pub use cache::{CacheError, CacheMode, RefreshTasks, Subscriptions, Ticket};
pub use matcher::SubscriptionSet;
pub use model::{EventType, EventTypes, Subscription, SubscriptionError};
