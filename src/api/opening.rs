//! Answers while the program opens its databases, which may take long, as where a large store is migrated.

use std::convert::Infallible;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use slog::Logger;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::reply::{Reply, Response};

use super::monitoring::{self, MetricsServer};
use super::refusal::Refusal;
use super::server::{LIMITS, Server};
use crate::http_server;

/// How long the work may take before anything is answered. It rarely takes as long, and then whoever connects meanwhile waits
/// for an answer that is worth more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does the `work`, and where that takes long, answers probes meanwhile: the program is alive, and not ready yet. Whatever else
/// is asked then has to be asked again.
pub async fn answering<T>(
    (server, metrics): (&Server, Option<&MetricsServer>),
    log: &Logger,
    work: impl Future<Output = T>,
) -> T {
    let done = CancellationToken::new();
    let work = async {
        let outcome = work.await;
        done.cancel();
        outcome
    };
    let serving = serve(server.bound(), log, &done);
    let serving_metrics = async {
        if let Some(metrics) = metrics {
            serve(metrics.bound(), log, &done).await;
        }
    };
    tokio::join!(work, serving, serving_metrics).0
}

async fn serve(server: &http_server::Server, log: &Logger, done: &CancellationToken) {
    let service = TowerToHyperService::new(warp::service(routes()));
    if done.run_until_cancelled(sleep(PATIENCE)).await.is_some() {
        server.serve_at_first(service, LIMITS, log, done.clone()).await;
    }
}

fn routes() -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let later = warp::any().map(|| Refusal::starting().into_response());
    monitoring::starting().or(later).unify()
}
