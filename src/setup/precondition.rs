//! What has to hold of the server, the role and the slot: what is wrong where it does not, and what mends that.

use crate::replication::remedy_of_a_lost_slot;
use std::fmt;

/// What does not hold. Its `Display` is the problem and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The server is too old.
    Version {
        /// The server's version.
        version: String,
    },
    /// The server is a standby.
    Standby,
    /// The server does not write what logical decoding needs.
    WalLevel {
        /// The setting.
        current: String,
    },
    /// No slot is free.
    NoFreeSlot {
        /// The setting.
        max: i64,
        /// The slots there are.
        used: i64,
    },
    /// No walsender is free.
    NoFreeWalSender {
        /// The setting.
        max: i64,
        /// The walsenders there are.
        used: i64,
    },
    /// The role may not use slots.
    Replication {
        /// The role.
        role: String,
    },
    /// The role may not create event triggers.
    EventTriggers {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// The role may not create schema `pgstream`.
    Create {
        /// The role.
        role: String,
        /// The database.
        database: String,
    },
    /// The output plugin prints the text of the database in its encoding, which is not the one of JSON.
    Encoding {
        /// The encoding.
        encoding: String,
        /// The database.
        database: String,
    },
    /// The output plugin is not installed.
    PluginMissing {
        /// What the server said.
        message: String,
        /// The server's major version.
        major: i32,
    },
    /// The server does not let the output plugin be used.
    PluginNotAllowed {
        /// The setting.
        current: String,
        /// The list it should be, as ALTER SYSTEM takes it.
        remedy: String,
    },
    /// The server does not let the output plugin be used, nor the role see the list of those that may be.
    PluginListHidden {
        /// What the server said.
        message: String,
    },
    /// The role may not change the list of output plugins.
    PluginListForbidden {
        /// The role.
        role: String,
        /// The statement that it may not run.
        statement: String,
    },
    /// The server has no list of output plugins to be changed.
    NoPluginList {
        /// The server's version.
        version: String,
    },
    /// The server refuses the output plugin for a reason of its own.
    PluginRefused {
        /// What the server said.
        message: String,
        /// What it advises.
        hint: String,
    },
    /// A slot of this name exists and is not ours.
    SlotConflict {
        /// The slot.
        slot: String,
        /// What it is instead.
        description: String,
    },
    /// The slot is ours, but the WAL it needs is gone.
    SlotLost {
        /// The slot.
        slot: String,
        /// Why, where the server says so.
        reason: Option<String>,
    },
    /// The slot is kept in step with that of another server.
    SlotSynchronised {
        /// The slot.
        slot: String,
    },
    /// Stand-bys cannot be kept in step with a slot of this server.
    NoFailoverSlots {
        /// The server's version.
        version: String,
    },
    /// The slot exists, and is not one that stand-bys are kept in step with.
    NotFailover {
        /// The slot.
        slot: String,
    },
}

impl Precondition {
    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Version { version } => format!("PostgreSQL {version} is too old"),
            Self::Standby => "the server is a standby (pg_is_in_recovery() is true)".to_owned(),
            Self::WalLevel { current } => format!("wal_level is {current}, but has to be logical"),
            Self::NoFreeSlot { max, used } => {
                format!("max_replication_slots is {max} and {used} slots exist, none is free")
            }
            Self::NoFreeWalSender { max, used } => {
                format!("max_wal_senders is {max} and {used} are in use, none is free")
            }
            Self::Replication { role } => {
                format!("role {role} has no REPLICATION privilege, which creating a replication slot needs")
            }
            Self::EventTriggers { role, database } => format!(
                "role {role} may not create event triggers in database {database}, which keep the schema log"
            ),
            Self::Create { role, database } => format!(
                "role {role} has no CREATE privilege in database {database} (or in its schema pgstream)"
            ),
            Self::Encoding { encoding, database } => format!(
                "the encoding of database {database} is {encoding}: wal2json sends its text as it is stored, which is not \
                 the UTF-8 of JSON"
            ),
            Self::PluginMissing { message, .. } => {
                format!("the output plugin wal2json is not installed on the server ({message})")
            }
            Self::PluginNotAllowed { current, .. } => {
                format!("output_plugin_libraries is {current:?} and does not allow wal2json")
            }
            Self::PluginListHidden { message } => format!(
                "output_plugin_libraries does not allow wal2json, and this role may not see what it is ({message})"
            ),
            Self::PluginListForbidden { role, .. } => {
                format!("role {role} may not change output_plugin_libraries")
            }
            Self::NoPluginList { version } => format!(
                "PostgreSQL {version} does not know output_plugin_libraries, so there is nothing to be allowed"
            ),
            Self::PluginRefused { message, hint } => format!(
                "the server refuses a replication slot with the output plugin wal2json: {message} ({hint})"
            ),
            Self::SlotConflict { slot, description } => {
                format!("replication slot {slot} exists already and is {description}")
            }
            Self::SlotLost { slot, reason: None } => format!(
                "replication slot {slot} has lost WAL that it still needed (wal_status is lost, see \
                 max_slot_wal_keep_size) and cannot be used again"
            ),
            Self::SlotLost {
                slot,
                reason: Some(reason),
            } => format!(
                "replication slot {slot} has been invalidated (invalidation_reason is {reason}) and cannot be used again"
            ),
            Self::SlotSynchronised { slot } => format!(
                "replication slot {slot} is kept in step with that of the primary (synced is true) and cannot be used here"
            ),
            Self::NoFailoverSlots { version } => format!(
                "PostgreSQL {version} cannot keep stand-bys in step with a replication slot, which --failover asks for"
            ),
            Self::NotFailover { slot } => format!(
                "replication slot {slot} exists already and is not one that stand-bys are kept in step with"
            ),
        }
    }

    /// What mends it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Version { .. } => "pgstream needs PostgreSQL 14 or later".to_owned(),
            Self::Standby => "give the URL of the primary".to_owned(),
            Self::WalLevel { .. } => {
                "run ALTER SYSTEM SET wal_level = logical and restart PostgreSQL".to_owned()
            }
            Self::NoFreeSlot { used, .. } => format!(
                "drop a slot that is not needed (see SELECT slot_name, active FROM pg_replication_slots), or run ALTER \
                 SYSTEM SET max_replication_slots = {} and restart PostgreSQL",
                used + 1
            ),
            Self::NoFreeWalSender { used, .. } => format!(
                "end a replication connection that is not needed (see SELECT pid, application_name FROM \
                 pg_stat_replication), or run ALTER SYSTEM SET max_wal_senders = {} and restart PostgreSQL",
                used + 1
            ),
            Self::Replication { role } => format!(
                "run ALTER ROLE {} REPLICATION as a superuser, or use another role",
                Quoted(role)
            ),
            Self::EventTriggers { .. } => {
                "run init as a superuser (the role that pgstream runs as later need not be one)".to_owned()
            }
            Self::Create { role, database } => format!(
                "run GRANT CREATE ON DATABASE {} TO {} as its owner, or use another role",
                Quoted(database),
                Quoted(role)
            ),
            Self::Encoding { database, .. } => format!(
                "move it to a database of encoding UTF8, by pg_dump of {}, CREATE DATABASE … ENCODING 'UTF8' TEMPLATE \
                 template0, and pg_restore",
                Quoted(database)
            ),
            Self::PluginMissing { major, .. } => format!(
                "install it (Debian and Ubuntu: apt install postgresql-{major}-wal2json; Red Hat: dnf install \
                 wal2json_{major}) where dynamic_library_path finds it"
            ),
            Self::PluginNotAllowed { remedy, .. } => format!(
                "run {} and then SELECT pg_reload_conf(); no restart is needed (init --allow-plugin does both)",
                allow_statement(remedy)
            ),
            Self::PluginListHidden { .. } => "in psql, as a superuser, run SELECT format('ALTER SYSTEM SET \
                output_plugin_libraries = %s', concat_ws(', ', nullif(current_setting('output_plugin_libraries'), ''), \
                'wal2json')) \\gexec and then SELECT pg_reload_conf(); no restart is needed"
                .to_owned(),
            Self::PluginListForbidden { statement, .. } => {
                format!("run {statement} and then SELECT pg_reload_conf() as a superuser, and init again")
            }
            Self::NoPluginList { .. } => "run init without --allow-plugin".to_owned(),
            Self::PluginRefused { .. } => "do what the server advises".to_owned(),
            Self::SlotConflict { slot, .. } => format!(
                "choose another name with --replication-slot, or drop it if nothing needs it (SELECT \
                 pg_drop_replication_slot('{slot}'))"
            ),
            Self::SlotLost { slot, .. } => remedy_of_a_lost_slot(slot),
            Self::SlotSynchronised { .. } => {
                "give the URL of the primary, or promote this server first".to_owned()
            }
            Self::NoFailoverSlots { .. } => {
                "run init without --failover, or use PostgreSQL 17 or later".to_owned()
            }
            Self::NotFailover { slot } => format!(
                "stop pgstream and run ALTER_REPLICATION_SLOT {slot} (FAILOVER true) over a replication connection (psql \
                 \"… replication=database\"), or run init without --failover"
            ),
        }
    }

    /// What programs call it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Version { .. } => "server_too_old",
            Self::Standby => "server_is_standby",
            Self::WalLevel { .. } => "wal_level",
            Self::NoFreeSlot { .. } => "no_free_slot",
            Self::NoFreeWalSender { .. } => "no_free_walsender",
            Self::Replication { .. } => "no_replication_privilege",
            Self::EventTriggers { .. } => "no_event_trigger_privilege",
            Self::Create { .. } => "no_create_privilege",
            Self::Encoding { .. } => "encoding",
            Self::PluginMissing { .. } => "plugin_missing",
            Self::PluginNotAllowed { .. } | Self::PluginListHidden { .. } => "plugin_not_allowed",
            Self::PluginListForbidden { .. } => "plugin_list_forbidden",
            Self::NoPluginList { .. } => "no_plugin_list",
            Self::PluginRefused { .. } => "plugin_refused",
            Self::SlotConflict { .. } => "slot_conflict",
            Self::SlotLost { .. } => "slot_lost",
            Self::SlotSynchronised { .. } => "slot_synchronised",
            Self::NoFailoverSlots { .. } => "no_failover_slots",
            Self::NotFailover { .. } => "slot_not_failover",
        }
    }
}

/// The statement that allows these output plugins, a list as `ALTER SYSTEM` takes it.
pub(super) fn allow_statement(list: &str) -> String {
    format!("ALTER SYSTEM SET output_plugin_libraries = {list}")
}

impl fmt::Display for Precondition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for Precondition {}

/// A name as SQL has it in quotes.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.0.replace('"', "\"\""))
    }
}
