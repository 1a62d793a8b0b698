//! Keys of the instrumentation: what others see of the program.

use super::Key;
use super::State::Derived;

/// Where metrics are served.
pub const METRICS_ADDRESS: Key = Key::text(
    "PGSTREAM_METRICS_ADDRESS",
    "instrumentation.metrics.address",
    Derived("the subscription server's"),
    "Address that `/metrics` is served on, and the probes too; `:9187` means every interface",
);
