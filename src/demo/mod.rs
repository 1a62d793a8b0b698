//! The demonstration: a throwaway PostgreSQL and a short story of changes, shown next to the webhooks they cause.
//!
//! - [`cluster`]: finds an installed PostgreSQL and runs a server of it in a temporary folder; the integration tests
//!   start theirs with it too.
//! - `stage`: all that runs while the story is told, and its end.
//! - `story`: the statements, and the webhooks each of them must cause. Pure.
//! - `subscribe`: the request that a user would make with curl.
//! - [`Show`]: what is printed.
//!
//! Uses the program from outside, as an operator would: nothing of replication or delivery is known here.

pub mod cluster;
mod error;
mod show;
mod stage;
mod story;
mod subscribe;

use std::time::Duration;

use slog::Logger;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::receiver::ReceivedEvent;
use cluster::{Cluster, Installation};
use stage::Stage;
use story::{Awaited, SCENES, Scene};

pub use error::DemoError;
pub use show::Show;

/// How long a statement's webhooks may take to arrive. They take milliseconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tells the story, and removes all that it needed, also when it fails or `shutdown` is cancelled.
///
/// # Errors
/// [`DemoError::Cluster`] says what to install where there is no PostgreSQL.
pub async fn run(show: &mut Show, log: Logger, shutdown: CancellationToken) -> Result<(), DemoError> {
    let installation = Installation::find()?;
    let version = installation.version();
    // Not broken off by a signal: half a cluster could not be cleaned up.
    let cluster = blocking(move || Cluster::start(&installation, &[])).await??;
    let told = tell_on(&cluster, version, show, &log, &shutdown).await;
    blocking(move || drop(cluster)).await?;
    let webhooks = told?;
    show.farewell(webhooks)?;
    Ok(())
}

/// Sets the stage on a cluster, tells the story, and clears the stage.
async fn tell_on(
    cluster: &Cluster,
    version: u32,
    show: &mut Show,
    log: &Logger,
    shutdown: &CancellationToken,
) -> Result<usize, DemoError> {
    show.cluster(version, cluster.socket_folder(), cluster.port())?;
    let mut stage = tokio::select! {
        set = Stage::set(cluster, log) => set?,
        () = shutdown.cancelled() => return Err(DemoError::Interrupted),
    };
    let ended = stage.ended();
    let told = tokio::select! {
        told = tell(cluster, &mut stage, show) => told,
        () = ended.cancelled() => Err(DemoError::RunEnded),
        () = shutdown.cancelled() => Err(DemoError::Interrupted),
    };
    match (told, stage.clear().await) {
        // Why it ended says more.
        (Err(DemoError::RunEnded) | Ok(_), Err(error)) => Err(error),
        (told, _) => told,
    }
}

/// Tells the story from the subscription to the last webhook, and counts the webhooks.
async fn tell(cluster: &Cluster, stage: &mut Stage, show: &mut Show) -> Result<usize, DemoError> {
    show.set(stage.slot(), stage.api())?;
    let subscription = stage.subscription();
    show.subscription(&subscription, stage.api())?;
    subscribe::subscribe(stage.api(), &subscription).await?;
    show.story()?;
    let mut webhooks = 0;
    for scene in SCENES {
        play(scene, cluster, stage.events(), show).await?;
        webhooks += scene.causes.len();
    }
    Ok(webhooks)
}

/// Runs a statement and waits for exactly the webhooks that it causes.
async fn play(
    scene: &Scene,
    cluster: &Cluster,
    events: &mut mpsc::Receiver<ReceivedEvent>,
    show: &mut Show,
) -> Result<(), DemoError> {
    show.statement(scene)?;
    execute(cluster, scene.statement).await?;
    let deadline = Instant::now() + DEADLINE;
    let mut awaited = Awaited::of(scene);
    while !awaited.is_empty() {
        let Ok(Some(event)) = timeout_at(deadline, events.recv()).await else {
            return Err(DemoError::Missing {
                statement: scene.statement,
                missing: awaited.to_string(),
                seconds: DEADLINE.as_secs(),
            });
        };
        show.webhook(&event)?;
        awaited.arrived(&event.body)?;
    }
    Ok(())
}

async fn execute(cluster: &Cluster, statement: &'static str) -> Result<(), DemoError> {
    let mut psql = tokio::process::Command::from(cluster.psql("postgres", statement));
    let output = psql.kill_on_drop(true).output().await.map_err(DemoError::Psql)?;
    if output.status.success() {
        return Ok(());
    }
    Err(DemoError::Statement {
        statement,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Runs what blocks where it may. An error means that it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DemoError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(DemoError::Panicked)
}
