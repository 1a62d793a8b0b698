//! All that runs while the story is told: the program itself, and a receiver of its webhooks.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use slog::Logger;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::cluster::Cluster;
use crate::api::Server;
use crate::config::{Config, Sources, keys};
use crate::receiver::{EmbeddedReceiver, ReceivedEvent};
use crate::run::{self, OnGap, RunError};
use crate::setup::{self, InitOptions};

/// How long the slot may wait for other transactions. There are none.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
/// The path that webhooks are sent to, as in the tutorial.
const PATH: &str = "/webhook";

/// `pgstream run` on an initialised database, and a receiver that is not subscribed yet.
pub(super) struct Stage {
    slot: String,
    api: SocketAddr,
    stop: CancellationToken,
    ended: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
    receiver: EmbeddedReceiver,
    events: mpsc::Receiver<ReceivedEvent>,
}

impl Stage {
    /// Does what `pgstream init`, `pgstream run` and `pgstream listen` do.
    pub(super) async fn set(cluster: &Cluster, log: &Logger) -> Result<Self, DemoError> {
        let config = configuration(&cluster.url("postgres"))?;
        let options = InitOptions {
            source: config.source.clone(),
            store: None,
            slot: config.slot.clone(),
            timeout: INIT_TIMEOUT,
            schema_log: None,
            failover: false,
            allow_plugin: false,
        };
        setup::init(&options, &mut |notice| slog::warn!(log, "{}", notice)).await?;
        let (receiver, events) = EmbeddedReceiver::start(log.clone()).await?;
        let server = Server::bind(config.server.address).await?;
        let (slot, api, stop) = (config.slot.clone(), server.address(), CancellationToken::new());
        let program = run::run_with(server, config, OnGap::Stop, log.clone(), stop.clone());
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let running = tokio::spawn(async move {
            let _guard = guard;
            program.await
        });
        Ok(Self {
            slot,
            api,
            stop,
            ended,
            running,
            receiver,
            events,
        })
    }

    /// The replication slot that is read.
    pub(super) fn slot(&self) -> &str {
        &self.slot
    }

    /// Where the subscription server listens.
    pub(super) fn api(&self) -> SocketAddr {
        self.api
    }

    /// What to send to the subscription server: every change goes to the receiver.
    pub(super) fn subscription(&self) -> String {
        json!({ "url": self.receiver.url(PATH) }).to_string()
    }

    /// The webhooks as they arrive.
    pub(super) fn events(&mut self) -> &mut mpsc::Receiver<ReceivedEvent> {
        &mut self.events
    }

    /// Cancelled when the program has ended, of itself or because it was stopped.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Stops the program and the receiver, and waits until they have ended.
    pub(super) async fn clear(self) -> Result<(), DemoError> {
        self.stop.cancel();
        let ended = self.running.await;
        self.receiver.stop().await;
        // Until here somebody takes events, so that what is in flight is delivered at once.
        drop(self.events);
        ended?.map_err(|error| DemoError::Run(Box::new(error)))
    }
}

/// The defaults, with ports that are free. Nothing of the caller's environment.
fn configuration(url: &str) -> Result<Config, DemoError> {
    let set = |key: &keys::Key, value: &str| (key.name.into(), value.into());
    let sources = Sources {
        environment: vec![
            set(&keys::LISTENER_URL, url),
            set(&keys::SERVER_ADDRESS, "127.0.0.1:0"),
            set(&keys::CACHE_ENABLED, "true"),
        ],
        ..Sources::default()
    };
    Ok(Config::load(&sources)?)
}
