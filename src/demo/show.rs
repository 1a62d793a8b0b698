//! What the demonstration prints: a line a step, then each statement with its webhooks beneath.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use super::story::Scene;
use crate::receiver::{ReceivedEvent, pretty};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const YELLOW: &str = "\x1b[1;33m";
const RESET: &str = "\x1b[0m";

/// Prints the demonstration.
pub struct Show {
    out: Box<dyn Write + Send>,
    color: bool,
    steps: usize,
}

impl Show {
    /// Prints to `out`, with terminal colours if wanted.
    #[must_use]
    pub fn new(out: impl Write + Send + 'static, color: bool) -> Self {
        Self {
            out: Box::new(out),
            color,
            steps: 0,
        }
    }

    pub(super) fn cluster(&mut self, version: u32, folder: &Path, port: u16) -> io::Result<()> {
        let folder = folder.display();
        self.step(
            &format!("A throwaway PostgreSQL {version}"),
            &format!("has been started in {folder}, on port {port}."),
        )
    }

    pub(super) fn set(&mut self, slot: &str, api: SocketAddr) -> io::Result<()> {
        self.step(
            "pgstream init",
            &format!("has created the schema pgstream and the replication slot {slot}."),
        )?;
        self.step(
            "pgstream run",
            &format!("reads the slot and takes subscriptions at http://{api}."),
        )
    }

    pub(super) fn subscription(&mut self, body: &str, api: SocketAddr) -> io::Result<()> {
        self.step(
            "A subscription",
            "sends every change to a receiver of webhooks. It is made like this:",
        )?;
        let curl = format!(
            "   curl -d '{body}' -H 'Content-Type: application/json' http://{api}/webhooks/subscribe"
        );
        self.line(&self.paint(YELLOW, &curl))
    }

    pub(super) fn story(&mut self) -> io::Result<()> {
        self.step(
            "A few statements",
            "follow, each with the webhooks it causes as they arrive (long values are cut).",
        )
    }

    pub(super) fn statement(&mut self, scene: &Scene) -> io::Result<()> {
        let caption = self.paint(DIM, scene.caption);
        let statement = self.paint(YELLOW, scene.statement);
        self.line(&format!("\n{caption}\npostgres=# {statement}"))
    }

    pub(super) fn webhook(&mut self, event: &ReceivedEvent) -> io::Result<()> {
        let id = event.headers.get("webhook-id").and_then(|id| id.to_str().ok());
        let request = format!("POST {}  webhook-id: {}", event.path, id.unwrap_or("none"));
        let body = pretty::compact(&event.body, self.color).unwrap_or_else(|| pretty::text(&event.body));
        self.line(&format!("-> {}\n{body}", self.paint(BOLD, &request)))
    }

    pub(super) fn farewell(&mut self, webhooks: usize) -> io::Result<()> {
        let done = self.paint(
            BOLD,
            &format!("All {webhooks} webhooks arrived; everything is stopped and removed."),
        );
        self.line(&format!(
            "\n{done}\n\n\
             With a database of your own (wal_level = logical, wal2json installed):\n\
             \x20 pgstream init --pgurl 'postgres://user:password@host/dbname'\n\
             \x20 pgstream run --pgurl 'postgres://user:password@host/dbname'\n\
             \x20 pgstream listen      # prints the webhooks that are sent to http://localhost:9910\n\
             \x20 curl -d '{{\"url\": \"http://localhost:9910/webhook\"}}' \
             -H 'Content-Type: application/json' http://localhost:9900/webhooks/subscribe\n\
             The README tells the rest."
        ))
    }

    fn step(&mut self, what: &str, does: &str) -> io::Result<()> {
        self.steps += 1;
        let what = self.paint(BOLD, what);
        self.line(&format!("{}. {what} {does}", self.steps))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color {
            format!("{color}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }
}
