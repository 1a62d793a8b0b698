//! Why `init` or `tear-down` could not do its work, for the operator who has to mend it.

use std::fmt;

use crate::store::StoreError;
use crate::store::blockers::Blocker;
use crate::store::known::Undelivered;

/// At most so many transactions are named in one message.
const MAX_NAMED: usize = 10;

/// A failure of `init` or `tear-down`.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The slot's name is not one that PostgreSQL accepts.
    #[error("{0}")]
    SlotName(String),
    /// The server, or the role, cannot do what pgstream needs. Nothing has been changed.
    #[error(transparent)]
    Precondition(#[from] Precondition),
    /// The slot's creation waited too long. No half-built slot is left.
    #[error(
        "gave up creating replication slot {slot} after {seconds} s: it has to wait for every transaction that is \
         open at that time; {}; end them and run init again",
        Waiting(blockers)
    )]
    SlotTimeout {
        /// The slot.
        slot: String,
        /// How long was waited.
        seconds: u64,
        /// Who was in the way.
        blockers: Vec<Blocker>,
    },
    /// The slot is being used. Nothing has been removed.
    #[error(
        "replication slot {slot} is in use by PID {pid}, nothing was removed: stop pgstream (or whatever else reads \
         the slot; SELECT pg_terminate_backend({pid}) ends it) and run tear-down again"
    )]
    SlotInUse {
        /// The slot.
        slot: String,
        /// The process that uses it.
        pid: i32,
    },
    /// Events would be lost. Nothing has been removed.
    #[error(
        "{target} holds {} undelivered events in backlogs and {} dead letters, which would be deleted; nothing was \
         removed: have them delivered or discard them (see `pgstream endpoints list`), or give --force",
        undelivered.backlog,
        undelivered.dead_letters
    )]
    Undelivered {
        /// The database's URL, password masked.
        target: String,
        /// What would be lost.
        undelivered: Undelivered,
    },
    /// Something of the operator's depends on schema `pgstream`. Nothing has been removed.
    #[error(
        "schema pgstream of {target} cannot be removed, because objects that are not pgstream's depend on it or lie in \
         it; nothing was removed there: drop or move them and run tear-down again ({detail})"
    )]
    Dependents {
        /// The database's URL, password masked.
        target: String,
        /// PostgreSQL's list of them.
        detail: String,
    },
    /// Other transactions use our objects. Nothing has been removed.
    #[error(
        "schema pgstream of {target} cannot be removed while other transactions use it, nothing was removed there; \
         {}; end them and run tear-down again",
        Waiting(blockers)
    )]
    SchemaInUse {
        /// The database's URL, password masked.
        target: String,
        /// Who was in the way.
        blockers: Vec<Blocker>,
    },
    /// A database did not do what it was told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What has to hold before anything is changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Precondition {
    /// The server is too old.
    #[error("PostgreSQL {version} is too old: pgstream needs PostgreSQL 14 or later")]
    Version {
        /// The server's version.
        version: String,
    },
    /// The server is a standby.
    #[error("the server is a standby (pg_is_in_recovery() is true): give the URL of the primary")]
    Standby,
    /// The server does not write what logical decoding needs.
    #[error(
        "wal_level is {current}, but has to be logical: run ALTER SYSTEM SET wal_level = logical and restart PostgreSQL"
    )]
    WalLevel {
        /// The setting.
        current: String,
    },
    /// No slot is free.
    #[error(
        "max_replication_slots is {max} and {used} slots exist, none is free: drop a slot that is not needed (see \
         SELECT slot_name, active FROM pg_replication_slots), or run ALTER SYSTEM SET max_replication_slots = {} and \
         restart PostgreSQL",
        used + 1
    )]
    NoFreeSlot {
        /// The setting.
        max: i64,
        /// The slots there are.
        used: i64,
    },
    /// No walsender is free.
    #[error(
        "max_wal_senders is {max} and {used} are in use, none is free: end a replication connection that is not needed \
         (see SELECT pid, application_name FROM pg_stat_replication), or run ALTER SYSTEM SET max_wal_senders = {} and \
         restart PostgreSQL",
        used + 1
    )]
    NoFreeWalSender {
        /// The setting.
        max: i64,
        /// The walsenders there are.
        used: i64,
    },
    /// The role may not use slots.
    #[error(
        "role {role} has no REPLICATION privilege, which creating a replication slot needs: run ALTER ROLE {} \
         REPLICATION as a superuser, or use another role",
        Quoted(role)
    )]
    Replication {
        /// The role.
        role: String,
    },
    /// The role may not create event triggers.
    #[error(
        "role {role} may not create event triggers in database {database}, which keep the schema log: run init as a \
         superuser (the role that pgstream runs as later need not be one)"
    )]
    EventTriggers {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// The role may not create schema `pgstream`.
    #[error(
        "role {role} has no CREATE privilege in database {database} (or in its schema pgstream): run GRANT CREATE ON \
         DATABASE {} TO {} as its owner, or use another role",
        Quoted(database),
        Quoted(role)
    )]
    Create {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// The output plugin is not installed.
    #[error(
        "the output plugin wal2json is not installed on the server ({message}): install it (Debian and Ubuntu: apt \
         install postgresql-{major}-wal2json; Red Hat: dnf install wal2json_{major}) where dynamic_library_path finds it"
    )]
    PluginMissing {
        /// What the server said.
        message: String,
        /// The server's major version.
        major: i32,
    },
    /// The server does not let the output plugin be used.
    #[error(
        "output_plugin_libraries is {current:?} and does not allow wal2json: run ALTER SYSTEM SET \
         output_plugin_libraries = {remedy} and then SELECT pg_reload_conf(); no restart is needed"
    )]
    PluginNotAllowed {
        /// The setting.
        current: String,
        /// The list it should be, as ALTER SYSTEM takes it.
        remedy: String,
    },
    /// The server refuses the output plugin for a reason of its own.
    #[error("the server refuses a replication slot with the output plugin wal2json: {message} ({hint})")]
    PluginRefused {
        /// What the server said.
        message: String,
        /// What it advises.
        hint: String,
    },
    /// A slot of this name exists and is not ours.
    #[error(
        "replication slot {slot} exists already and is {description}: choose another name with --replication-slot, or \
         drop it if nothing needs it (SELECT pg_drop_replication_slot('{slot}'))"
    )]
    SlotConflict {
        /// The slot.
        slot: String,
        /// What it is instead.
        description: String,
    },
    /// The slot is ours, but the WAL it needs is gone.
    #[error(
        "replication slot {slot} has lost WAL that it still needed (wal_status is lost, see max_slot_wal_keep_size) and \
         cannot be used again: run tear-down and then init; changes since then are not delivered"
    )]
    SlotLost {
        /// The slot.
        slot: String,
    },
}

/// "waiting for A, B and 3 more".
pub(super) struct Waiting<'a>(pub(super) &'a [Blocker]);

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return formatter.write_str("none of them is open any more");
        };
        write!(formatter, "waiting for {first}")?;
        for other in others.iter().take(MAX_NAMED - 1) {
            write!(formatter, ", {other}")?;
        }
        match self.0.len().saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// A name as SQL has it in quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0.replace('"', "\"\""))
    }
}
