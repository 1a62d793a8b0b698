//! Why the server does not let changes be streamed, where it is for something that `init` would have refused.

use super::RunError;
use crate::replication::ReplicationError;
use crate::setup::plugin;
use crate::store::PgPool;

/// The same error, with what mends it where the output plugin is not on the server's list.
pub(super) async fn explained(error: ReplicationError, source: &PgPool) -> RunError {
    let ReplicationError::Server { error: refused, .. } = &error else {
        return error.into();
    };
    let hint = refused.hint.as_deref().unwrap_or_default();
    if !plugin::is_not_allowed(&refused.code, &refused.message, hint) {
        return error.into();
    }
    match plugin::not_allowed(source, refused.message.clone()).await {
        Ok(lacking) => lacking.into(),
        // What it said is all that is known.
        Err(_) => error.into(),
    }
}
