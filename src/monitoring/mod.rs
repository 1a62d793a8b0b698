//! What a monitoring system sees: metrics in Prometheus' format, and probes of whether the program is alive and ready.
//!
//! ```text
//! rooms count in atomics of their own -> collected when somebody asks -> text
//! the store, asked in the background when somebody asks -> its last answer, with its age
//! ```
//!
//! Nothing here is on the way of an event, and nothing is asked of the store unless somebody asks here. A store that hangs
//! makes no answer wait longer than [`PATIENCE`]: the last figures are given then.
//!
//! | file | owns |
//! |---|---|
//! | `monitor` | where everything comes together: the answers |
//! | `readiness` | when the program is ready, and when it is alive (pure) |
//! | `collect` | which metrics there are, their names and meanings |
//! | `endpoints` | which endpoints have series of their own (pure) |
//! | `families` | Prometheus' text format |
//! | `latest` | asking what may take long |
//! | `process` | what the operating system knows |

mod collect;
mod endpoints;
mod families;
mod latest;
mod monitor;
mod process;
pub mod readiness;

pub use endpoints::{MAX_ENDPOINTS, OTHERS};
pub use families::CONTENT_TYPE;
pub use monitor::{Engine, Monitor, MonitorParts, PATIENCE};
pub use readiness::{Reason, Stuck};
