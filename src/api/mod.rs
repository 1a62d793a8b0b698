//! The subscription server: who may be told of which changes, over HTTP; and the one of the metrics.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /webhooks/subscribe` | `{"url", "schema", "table", "event_types"}`, only `url` required | 201, the subscription as it is stored |
//! | `POST /webhooks/unsubscribe` | the same; `event_types` plays no part | 200, the subscription that was removed |
//! | `GET /webhooks/subscriptions` | | 200, an array of subscriptions |
//! | `GET /webhooks/endpoints` | | 200, all endpoints; with `?url=` that one and more of it |
//! | `POST /webhooks/endpoints/pause`, `…/disable` | `{"url", "reason"}` | 200, the endpoint |
//! | `POST /webhooks/endpoints/resume`, `…/enable` | `{"url"}` | 200, the endpoint |
//! | `POST /webhooks/endpoints/set` | `{"url", "order", "in_flight", "timeout", "batch_size", "batch_wait", "batch_bytes", "new"}` | 200, the endpoint |
//! | `POST /webhooks/endpoints/move` | `{"from", "to"}` | 200, what was moved |
//! | `GET /webhooks/deadletters` | `?endpoint=&table=&since=&until=&id=&reason=&limit=` | 200, those dead letters |
//! | `GET /webhooks/deadletters/ID` | | 200, that one with its payload |
//! | `POST /webhooks/deadletters/replay` | `{"endpoint", "table", "since", "until", "id", "reason", "all", "dry_run", "to"}` | 200, what was replayed |
//! | `POST /webhooks/deadletters/discard` | the same without `to` | 200, what was discarded |
//! | `POST /webhooks/backfill` | `{"url", "tables", "excluded_tables"}` | 202, the number of the backfill, and its tables |
//! | `GET /webhooks/backfill` | | 200, the backfills of the last days, and how far they are |
//! | `POST /webhooks/backfill/cancel` | `{"id"}` | 200, how many tables are read no further |
//! | `GET /healthz` | | 200, or 503 if the stream does not turn |
//! | `GET /readyz` | | 200, or 503 and the reason |
//! | `GET /metrics` | | 200, the metrics in Prometheus' text format, unless they have a server of their own |
//!
//! A move, a replay and a discarding end after some time with `"complete": false`: the same request goes on.
//!
//! A subscription is identified by URL, schema and table: subscribing again replaces its event types. When the
//! answer arrives, the change holds for every transaction that begins to be read from then on.
//!
//! Every refusal is JSON of one shape, see [`Refusal`].
//!
//! This room knows warp and HTTP's words; what a subscription is, the room `subscription` knows, where it is kept, the
//! room `store`, and what an operator can do, the room `operator`. Deliberately absent: authentication. The server listens on loopback unless told
//! otherwise.

mod backfill;
mod dead_letters;
mod endpoints;
mod handlers;
mod monitoring;
mod opening;
mod operator_routes;
mod query;
mod refusal;
mod routes;
mod server;
mod state;
mod wire;

pub use monitoring::{MetricsServer, Shown};
pub use opening::answering;
pub use refusal::Refusal;
pub use server::{ApiError, LIMITS, Server, limits};
pub use state::{Failures, State};
