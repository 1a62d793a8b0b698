//! The subscription server: who may be told of which changes, over HTTP.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /webhooks/subscribe` | `{"url", "schema", "table", "event_types"}`, only `url` required | 201, the subscription as it is stored |
//! | `POST /webhooks/unsubscribe` | the same; `event_types` plays no part | 200, the subscription that was removed |
//! | `GET /webhooks/subscriptions` | | 200, an array of subscriptions |
//!
//! A subscription is identified by URL, schema and table: subscribing again replaces its event types. When the
//! answer arrives, the change holds for every transaction that begins to be read from then on.
//!
//! Every refusal is JSON of one shape, see [`Refusal`].
//!
//! This room knows warp and HTTP's words; what a subscription is, the room `subscription` knows, and where it
//! is kept, the room `store`. Deliberately absent: authentication. The server listens on loopback unless told
//! otherwise.

mod handlers;
mod refusal;
mod routes;
mod server;
mod state;
mod wire;

pub use refusal::Refusal;
pub use server::{ApiError, LIMITS, Server, limits};
pub use state::State;
