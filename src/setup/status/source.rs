//! What is looked at in the source.

use pgstream_proto::Lsn;
use tokio::time::Instant;

use super::document::MigrationReport;
use crate::config::Targets;
use crate::replication::Identity;
use crate::setup::findings::{NotLookedAt, by, keep};
use crate::store::migrate::{self, Applied, AppliedState};
use crate::store::replica_identity::{self, Unidentified};
use crate::store::server::{self, OwnSchema, Server};
use crate::store::slot_status::{self, SlotStatus, Synchronous};
use crate::store::{MigrationSet, PgPool};

/// What was found. `None` was not looked at.
#[derive(Debug, Default)]
pub(super) struct SourceFacts {
    pub(super) server: Option<Server>,
    pub(super) slot: Option<Option<SlotStatus>>,
    /// Who it is and where its WAL ends; `None` where that is not for this role to know, or it is a stand-by.
    pub(super) identity: Option<Option<(Identity, Lsn)>>,
    pub(super) synchronous: Option<Synchronous>,
    pub(super) schema: Option<OwnSchema>,
    pub(super) migration: Option<MigrationReport>,
    pub(super) unidentified: Option<Vec<Unidentified>>,
    pub(super) missing: Vec<NotLookedAt>,
}

/// Looks at all of it side by side, what the catalogs alone can tell first.
pub(super) async fn look(pool: &PgPool, targets: &Targets, deadline: Instant) -> SourceFacts {
    let (server, slot, identity, synchronous, schema, migration, unidentified) = tokio::join!(
        by(deadline, server::describe(pool)),
        by(deadline, slot_status::find(pool, &targets.slot)),
        by(deadline, server::identify(pool)),
        by(deadline, slot_status::synchronous(pool)),
        by(deadline, server::own_schema(pool)),
        by(deadline, migrate::applied(pool, MigrationSet::Source)),
        by(deadline, replica_identity::unidentified(pool)),
    );
    let mut missing = Vec::new();
    SourceFacts {
        server: keep("server", server, &mut missing),
        slot: keep("slot", slot, &mut missing),
        identity: keep("remembered", identity, &mut missing).map(|found| {
            found.map(|found| {
                let identity = Identity {
                    system_identifier: found.system_identifier,
                    timeline: found.timeline,
                };
                (identity, found.wal_end)
            })
        }),
        synchronous: keep("synchronous_standby", synchronous, &mut missing),
        schema: keep("schema", schema, &mut missing),
        migration: keep("source_migration", migration, &mut missing).map(migration_report),
        unidentified: keep("tables_without_replica_identity", unidentified, &mut missing),
        missing,
    }
}

/// How far a set of migrations is.
pub(super) fn migration_report(Applied { version, state }: Applied) -> MigrationReport {
    let (state, pending) = match state {
        AppliedState::Success => ("success", 0),
        AppliedState::Pending(lacking) => ("pending", lacking),
        AppliedState::Failed => ("failed", 0),
        AppliedState::OtherRelease => ("other_release", 0),
    };
    MigrationReport {
        version,
        state,
        pending,
    }
}
