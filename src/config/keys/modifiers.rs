//! Keys of what is done with changes on their way: metadata and filters.

use super::Key;
use super::State::{Default, Derived};

/// The database whose schema log fills in the events' metadata.
pub const INJECTOR_URL: Key = Key::url(
    "PGSTREAM_INJECTOR_STORE_POSTGRES_URL",
    "modifiers.injector.schemalog_url",
    Derived("no metadata"),
    "URL of the database whose schema log fills in the events' metadata: the source",
);

/// How long entries of the schema log are kept that are not needed any more.
pub const SCHEMA_LOG_RETENTION: Key = Key::text(
    "PGSTREAM_INJECTOR_SCHEMA_LOG_RETENTION",
    "modifiers.injector.schemalog_retention",
    Default("30d"),
    "How long entries of the schema log are kept that later ones have made superfluous; `0` means for ever",
);

/// Which tables' changes are taken.
pub const INCLUDE_TABLES: Key = Key::list(
    "PGSTREAM_FILTER_INCLUDE_TABLES",
    "modifiers.filter.include_tables",
    Derived("every table"),
    "Tables whose changes are taken: `table` (of schema `public`) or `schema.table`, `*` for any text, separated by commas; a partition also matches by its root",
    ",",
);

/// Which tables' changes are not.
pub const EXCLUDE_TABLES: Key = Key::list(
    "PGSTREAM_FILTER_EXCLUDE_TABLES",
    "modifiers.filter.exclude_tables",
    Derived("none"),
    "Tables whose changes are not taken, whatever is included; written alike. Entries of the schema log are always taken",
    ",",
);
