//! `pgstream listen`: a webhook server that prints what it receives.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use slog::{Logger, debug, info};
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::output::{Lines, Printer};
use super::pretty;
use super::requests::{Arrival, LIMITS, requests};
use crate::http_server::{BindError, Server};

/// How the receiver behaves.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// `host:port`, or `:port` for all interfaces.
    pub address: String,
    /// Counts events instead of printing them.
    pub quiet: bool,
    /// The status of every answer, 200 to 599. (A body that is not JSON is always answered with 400.)
    pub status: u16,
    /// How long every answer waits, after the event is printed.
    pub delay: Duration,
    /// Whether events are printed with terminal colours.
    pub color: bool,
}

/// What was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenSummary {
    /// Bodies that were JSON.
    pub events: u64,
    /// Bodies that were not.
    pub not_json: u64,
}

/// Why the receiver ended, or did not start.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address is not to be had.
    #[error("cannot listen for webhooks: choose another port with --port")]
    Bind(#[from] BindError),
    /// No answer can have this status.
    #[error("{0} is no status that an answer can have: choose one from 200 to 599 with --status")]
    Status(u16),
    /// Standard output cannot be written.
    #[error("cannot print the received events")]
    Output(#[source] io::Error),
}

/// Receives until `shutdown` is cancelled or standard output is closed. Prints to standard output, and logs
/// `listening on ADDRESS` once it does.
///
/// # Errors
/// [`ListenError`] when it cannot start, or cannot print.
pub async fn run(
    options: ListenOptions,
    log: Logger,
    shutdown: CancellationToken,
) -> Result<ListenSummary, ListenError> {
    run_with(options, log, shutdown, io::stdout()).await
}

/// As [`run`], printing to `out`.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    options: ListenOptions,
    log: Logger,
    shutdown: CancellationToken,
    out: impl Write + Send + 'static,
) -> Result<ListenSummary, ListenError> {
    let status = answer_status(options.status)?;
    let server = Server::bind(&options.address).await?;
    let (printer, lines) = Printer::start(out).map_err(ListenError::Output)?;
    match options.address.strip_prefix(':') {
        Some(_) => info!(log, "listening on :{}", server.address().port()),
        None => info!(log, "listening on {}", server.address()),
    }

    // Ended by the caller, or by the output's end: a pipe that nobody reads any more.
    let stop = shutdown.child_token();
    let counts = Arc::new(Counts::default());
    let sink = Arc::new(Sink {
        lines: lines.clone(),
        counts: Arc::clone(&counts),
        color: options.color,
        quiet: options.quiet,
        stop: stop.clone(),
        log: log.clone(),
    });
    let service = requests(move |arrival| {
        let sink = Arc::clone(&sink);
        async move {
            let answer = sink.take(arrival).await;
            sleep(options.delay).await;
            answer.unwrap_or(status)
        }
    });
    let serving = server.serve(service, LIMITS, &log, stop.clone());
    if options.quiet {
        tokio::join!(serving, report(&lines, &counts, &stop));
        // Refused only when nobody reads any more.
        let _ = lines.send(total(counts.summary())).await;
    } else {
        serving.await;
    }
    drop(lines);
    finish(printer).await?;
    Ok(counts.summary())
}

fn answer_status(status: u16) -> Result<StatusCode, ListenError> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|_| (200..=599).contains(&status))
        .ok_or(ListenError::Status(status))
}

/// Where events go.
struct Sink {
    lines: Lines,
    counts: Arc<Counts>,
    color: bool,
    quiet: bool,
    stop: CancellationToken,
    log: Logger,
}

impl Sink {
    /// Counts and prints one body. `Some` is an answer that the options have no say in.
    async fn take(&self, arrival: Arrival) -> Option<StatusCode> {
        let Arrival { path, headers, body } = arrival;
        let id = headers
            .get("webhook-id")
            .and_then(|id| id.to_str().ok())
            .unwrap_or("-");
        debug!(self.log, "received"; "path" => path, "bytes" => body.len(), "webhook-id" => id);
        let shown = pretty::json(&body, self.color);
        let is_json = shown.is_some();
        let count = if is_json {
            &self.counts.events
        } else {
            &self.counts.not_json
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !self.quiet {
            let line = shown.unwrap_or_else(|| format!("not JSON: {}", pretty::text(&body)));
            if self.lines.send(line).await.is_err() {
                self.stop.cancel();
                return Some(StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        (!is_json).then_some(StatusCode::BAD_REQUEST)
    }
}

#[derive(Default)]
struct Counts {
    events: AtomicU64,
    not_json: AtomicU64,
}

impl Counts {
    fn summary(&self) -> ListenSummary {
        ListenSummary {
            events: self.events.load(Ordering::Relaxed),
            not_json: self.not_json.load(Ordering::Relaxed),
        }
    }
}

/// Prints the count each second while events arrive, and the total at the end.
async fn report(lines: &Lines, counts: &Counts, stop: &CancellationToken) {
    let mut before = ListenSummary::default();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        let now = counts.summary();
        if now == before {
            continue;
        }
        let line = format!("{} events, {} more", now.events, now.events - before.events);
        if lines.send(line).await.is_err() {
            stop.cancel();
        }
        before = now;
    }
}

/// The last line of a quiet receiver.
fn total(summary: ListenSummary) -> String {
    match summary.not_json {
        0 => format!("total: {} events", summary.events),
        wrong => format!(
            "total: {} events, {wrong} bodies that were not JSON",
            summary.events
        ),
    }
}

/// Waits for the last line to be out. That nobody reads any more is no failure of a program that prints.
async fn finish(printer: Printer) -> Result<(), ListenError> {
    let printed = tokio::task::spawn_blocking(|| printer.finish()).await;
    match printed.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(ListenError::Output(error)),
        _ => Ok(()),
    }
}
