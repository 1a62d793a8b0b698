//! The delivery engine as the configuration has it, and its end.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use slog::{Logger, warn};
use tokio::sync::oneshot;

use crate::config::{Config, NotifierConfig};
use crate::delivery::retry::{Retries, RetryPolicy};
use crate::delivery::{Dispatcher, Limits, Retention};
use crate::endpoint::EndpointSettings;

/// How long deliveries in flight may take to finish at the end.
const GRACE: Duration = Duration::from_secs(10);
/// How long the store may take to write what waits for it at the end.
pub(super) const STORE_GRACE: Duration = Duration::from_secs(5);

/// Has the dispatcher finish what is in flight, and the store take what waits for it. Begins when it is first polled.
pub(super) async fn finish_deliveries(dispatcher: Arc<Dispatcher>, log: Logger) {
    let (done, waiting) = oneshot::channel();
    let exchanges = Arc::clone(&dispatcher);
    // A thread of its own instead of the runtime's: an immediate end must not wait for it.
    let finisher = thread::Builder::new()
        .name("pgstream-finish".to_owned())
        .spawn(move || {
            // Nobody listens any more when the program ends at once.
            let _ = done.send(exchanges.stop_exchanges(GRACE));
        });
    let broken_off = match finisher {
        Ok(_) => waiting.await.ok(),
        Err(_) => None,
    };
    let undelivered = dispatcher.stop_keeping(STORE_GRACE).await;
    match broken_off {
        Some(broken_off) if undelivered > 0 => {
            warn!(log, "some deliveries were not made; their changes are sent again after the next start";
                "undelivered" => undelivered, "broken_off" => broken_off);
        }
        Some(_) => {}
        None => warn!(log, "could not wait for the deliveries in flight"),
    }
}

pub(super) fn delivery_limits(config: &Config) -> Limits {
    Limits {
        workers: config.notifier.worker_count,
        defaults: EndpointSettings {
            timeout: config.notifier.client_timeout,
            ..EndpointSettings::default()
        },
        retry: retry_policy(&config.notifier),
        retention: Retention {
            age: config.notifier.backlog.max_age,
            bytes: config.notifier.backlog.max_bytes,
            rows: config.notifier.backlog.max_rows.unwrap_or(u64::MAX),
        },
        dead_letters: config.notifier.dead_letter_retention,
        strict: config.notifier.strict_mode,
    }
}

fn retry_policy(config: &NotifierConfig) -> RetryPolicy {
    RetryPolicy {
        backoff: config.backoff,
        retries: if config.disable_retries {
            Retries::Disabled
        } else {
            Retries::AtMost(config.max_retries)
        },
    }
}
