//! The deliveries of one store are made by one program at a time.
//!
//! Who has the lock keeps it for as long as its session lives, and takes it again where that is lost, as when the server is
//! restarted. Who waits for it gives the other some time to do so. If somebody else had it meanwhile, what is in memory here
//! may have been delivered there: then everything is begun anew, behind the other.

use std::time::{Duration, Instant};

use slog::{Logger, info, warn};
use tokio::time::sleep;

use crate::replication::Vitals;
use crate::store::drainer::{Drainer, Held, Retaken};
use crate::store::{PgPool, StoreError, server};

/// How often it is looked whether another program has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often it is looked whether our own session is still there.
const LOOK_AFTER: Duration = Duration::from_secs(2);
/// So long a store that comes back is left to who had the lock before it went.
const HEAD_START: Duration = Duration::from_secs(5);

/// Waits until no other program makes deliveries of this store, and keeps others from doing so.
///
/// # Errors
/// Where waiting is of no use.
pub(super) async fn alone(store: &PgPool, vitals: &Vitals, log: &Logger) -> Result<Drainer, StoreError> {
    let mut server = server::started_at(store).await?;
    if let Some(drainer) = Drainer::try_acquire(store).await? {
        return Ok(drainer);
    }
    info!(
        log,
        "standing by: another pgstream makes the deliveries of this store; waiting until it ends"; "event" => "standing_by"
    );
    vitals.standing_by(Instant::now());
    loop {
        sleep(LOOK_AGAIN).await;
        match server::started_at(store).await {
            Ok(same) if same == server => {}
            Ok(another) => {
                server = another;
                sleep(HEAD_START).await;
            }
            Err(error) if error.may_pass() => continue,
            Err(error) => return Err(error),
        }
        match Drainer::try_acquire(store).await {
            Ok(Some(drainer)) => return Ok(drainer),
            Ok(None) => {}
            Err(error) if error.may_pass() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Looks after the lock for as long as it is polled. Resolves when another program has taken over.
pub(super) async fn keep(drainer: &mut Drainer, store: &PgPool, log: &Logger) {
    loop {
        sleep(LOOK_AFTER).await;
        if drainer.is_there().await {
            continue;
        }
        let held = drainer.what().clone();
        let Some(retaken) = retake(store, &held, log).await else {
            return;
        };
        *drainer = retaken;
    }
}

/// Takes the lock again, once the store answers. Not if somebody else has it, or had it.
async fn retake(store: &PgPool, held: &Held, log: &Logger) -> Option<Drainer> {
    let mut is_told = false;
    loop {
        match Drainer::try_retake(store, held).await {
            Ok(Retaken::Ours(drainer)) => {
                info!(
                    log,
                    "the lock of the deliveries of this store was lost with its session, and is held again";
                    "event" => "lock_retaken"
                );
                return Some(drainer);
            }
            Ok(Retaken::Others) => return None,
            Ok(Retaken::NotYet) => {}
            Err(error) => {
                if !is_told {
                    warn!(log, "the session that keeps other programs from making the deliveries of this store is lost, \
                        and cannot be made again; trying until it can"; "event" => "lock_lost", "error" => #&error);
                }
                is_told = true;
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}
