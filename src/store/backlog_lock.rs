//! What every writer of a backlog does besides: it locks before, and tells after.

use sqlx::PgConnection;

use super::endpoints::CHANNEL;

/// Locks the backlogs of these endpoints until the transaction ends, so that `seq` is given in the order of the
/// commits. Always in the same order, so that two who lock the same endpoints do not wait for each other.
pub(super) async fn lock(session: &mut PgConnection, endpoints: &[&str]) -> Result<(), sqlx::Error> {
    let mut endpoints = endpoints.to_vec();
    endpoints.sort_unstable();
    for endpoint in endpoints {
        sqlx::query(
            "INSERT INTO pgstream.webhook_backlog_marks (endpoint) VALUES ($1)
                 ON CONFLICT (endpoint) DO UPDATE SET endpoint = excluded.endpoint",
        )
        .bind(endpoint)
        .execute(&mut *session)
        .await?;
    }
    Ok(())
}

/// Tells a running program, when the transaction commits, that these backlogs have changed.
pub(super) async fn tell(session: &mut PgConnection, endpoints: &[&str]) -> Result<(), sqlx::Error> {
    for endpoint in endpoints {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(endpoint)
            .execute(&mut *session)
            .await?;
    }
    Ok(())
}
