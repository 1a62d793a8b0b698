//! Keys of the target: subscriptions, their server, and deliveries.

use super::Key;
use super::State::{Default, Derived};

/// The database that holds subscriptions.
pub const STORE_URL: Key = Key::url(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_URL",
    "target.webhooks.subscriptions.store.url",
    Derived("the listener's URL"),
    "URL of the database that holds the subscriptions; the flag `--store-url` overrides it",
);

/// Whether subscriptions are held in memory.
pub const CACHE_ENABLED: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_ENABLED",
    "target.webhooks.subscriptions.store.cache.enabled",
    Default("false"),
    "Hold the subscriptions in memory; without it the store is asked once a transaction",
);

/// How often the held subscriptions are read again.
pub const CACHE_REFRESH_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_STORE_CACHE_REFRESH_INTERVAL",
    "target.webhooks.subscriptions.store.cache.refresh_interval",
    Default("60s"),
    "How often the subscriptions in memory are read again from the store",
);

/// Where the subscription server listens.
pub const SERVER_ADDRESS: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_ADDRESS",
    "target.webhooks.subscriptions.server.address",
    Default("127.0.0.1:9900"),
    "Address the subscription server listens on; `:9900` means every interface",
);

/// How long a client may take to send a request.
pub const SERVER_READ_TIMEOUT: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_READ_TIMEOUT",
    "target.webhooks.subscriptions.server.read_timeout",
    Default("5s"),
    "How long a client of the subscription server may take to send a request",
);

/// How long a client may take to accept an answer.
pub const SERVER_WRITE_TIMEOUT: Key = Key::text(
    "PGSTREAM_WEBHOOK_SUBSCRIPTION_SERVER_WRITE_TIMEOUT",
    "target.webhooks.subscriptions.server.write_timeout",
    Default("10s"),
    "How long a client of the subscription server may take to accept an answer",
);

/// The bytes of payload in memory.
pub const MAX_QUEUE_BYTES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_MAX_QUEUE_BYTES",
    "target.webhooks.notifier.max_queue_bytes",
    Default("100MiB"),
    "Bytes of payload that may wait in memory before reading pauses, such as `100MiB`",
);

/// How many exchanges at one time.
pub const WORKER_COUNT: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_WORKER_COUNT",
    "target.webhooks.notifier.worker_count",
    Default("256"),
    "How many requests to webhooks may be under way at one time, 1 to 10000",
);

/// How long one exchange may take.
pub const CLIENT_TIMEOUT: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_CLIENT_TIMEOUT",
    "target.webhooks.notifier.client_timeout",
    Default("10s"),
    "How long one request to a webhook may take",
);

/// The first wait of a retry.
pub const EXP_BACKOFF_INITIAL_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_INITIAL_INTERVAL",
    "target.webhooks.notifier.backoff.exponential.initial_interval",
    Default("1s"),
    "The wait after a delivery's first failure; each further one doubles it",
);

/// The longest wait of a retry.
pub const EXP_BACKOFF_MAX_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_INTERVAL",
    "target.webhooks.notifier.backoff.exponential.max_interval",
    Default("30s"),
    "The longest wait between two tries of a delivery",
);

/// How often a delivery is tried again.
pub const EXP_BACKOFF_MAX_RETRIES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_EXP_BACKOFF_MAX_RETRIES",
    "target.webhooks.notifier.backoff.exponential.max_retries",
    Default("20"),
    "How often a delivery is tried again before it is a dead letter, while its endpoint takes others",
);

/// The one wait of retries that are evenly spaced.
pub const BACKOFF_INTERVAL: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKOFF_INTERVAL",
    "target.webhooks.notifier.backoff.constant.interval",
    Derived("exponential"),
    "The wait after each failure of a delivery, always as long, in place of the exponential ones",
);

/// How often a delivery is tried again where retries are evenly spaced.
pub const BACKOFF_MAX_RETRIES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKOFF_MAX_RETRIES",
    "target.webhooks.notifier.backoff.constant.max_retries",
    Default("20"),
    "The same as `..._EXP_BACKOFF_MAX_RETRIES`, with `..._BACKOFF_INTERVAL`",
);

/// Whether deliveries are tried once only.
pub const DISABLE_RETRIES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_DISABLE_RETRIES",
    "target.webhooks.notifier.disable_retries",
    Default("false"),
    "Try each delivery once: one that fails is a dead letter at once",
);

/// Whether the stream stops where a delivery would be given up.
pub const STRICT_MODE: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_STRICT_MODE",
    "target.webhooks.notifier.strict_mode",
    Default("false"),
    "Stop the stream instead of making anything a dead letter",
);

/// How old what is in the backlog may become.
pub const BACKLOG_MAX_AGE: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_AGE",
    "target.webhooks.notifier.backlog.max_age",
    Default("72h"),
    "How long an endpoint's backlog keeps a delivery that cannot be made before it is a dead letter",
);

/// How large the backlog of an endpoint may become.
pub const BACKLOG_MAX_BYTES: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_BYTES",
    "target.webhooks.notifier.backlog.max_bytes",
    Default("10GiB"),
    "Bytes of payload that an endpoint's backlog may hold before the oldest are dead letters",
);

/// How many rows the backlog of an endpoint may have.
pub const BACKLOG_MAX_ROWS: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_BACKLOG_MAX_ROWS",
    "target.webhooks.notifier.backlog.max_rows",
    Default("0"),
    "Deliveries that an endpoint's backlog may hold before the oldest are dead letters; `0` means no bound",
);

/// How long dead letters are kept.
pub const DEAD_LETTER_RETENTION: Key = Key::text(
    "PGSTREAM_WEBHOOK_NOTIFIER_DEAD_LETTER_RETENTION",
    "target.webhooks.notifier.dead_letters.retention",
    Default("30d"),
    "How long dead letters are kept",
);
