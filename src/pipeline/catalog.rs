//! Asking the source about a table that is seen for the first time, or whose schema has changed since.

use std::sync::Arc;
use std::time::Duration;

use slog::{Logger, info, warn};
use tokio::time::{sleep, timeout};

use crate::event::Description;
use crate::schema_log::LookAhead;
use crate::store::catalog::{self, PartitionRoot};
use crate::store::{PgPool, StoreError};

/// The first pause after a failed look-up; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the catalogs may take to show what a transaction did whose commit has been read: no time, unless commits wait for
/// a stand-by, which may be this program.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is asked about a table.
#[derive(Debug)]
pub(super) struct Question {
    /// Its schema.
    pub(super) schema: String,
    /// Its name.
    pub(super) table: String,
    /// The transaction being read, if the plugin told its number.
    pub(super) xid: Option<u32>,
    /// Whether what that transaction did has to be seen, since it has changed tables before this row.
    pub(super) after_ddl: bool,
    /// Whether it was waited for in vain.
    pub(super) is_unseen: bool,
    /// The version of the entry of the schema log that was the last to be read of it.
    pub(super) version: i64,
    /// Given if nothing is known that describes the table, so that the transaction may be the one that makes it, with the
    /// entry behind the rows: CREATE TABLE AS and SELECT INTO do that.
    pub(super) look_ahead: Option<LookAhead>,
}

/// What the source says.
#[derive(Debug)]
pub(super) struct Answer {
    /// The root of the partition tree that the table is in.
    pub(super) root: PartitionRoot,
    /// The table as the transaction being read describes it further on.
    pub(super) ahead: Option<Arc<Description>>,
    /// Whether it cannot be seen yet what that transaction did, although that was waited for.
    pub(super) is_unseen: bool,
}

impl Answer {
    /// The answer where nothing needs to be asked.
    pub(super) const NOTHING: Self = Self {
        root: PartitionRoot::Itself,
        ahead: None,
        is_unseen: false,
    };
}

/// Answers as of the end of the transaction that is being read.
///
/// Guessing would lose the events of a subscription on the root.
pub(super) async fn ask(source: PgPool, question: Question, log: Logger) -> Answer {
    let mut is_unseen = question.is_unseen;
    if let Some(xid) = question.xid
        && (question.after_ddl || question.look_ahead.is_some())
        && !is_unseen
    {
        is_unseen = !is_seen_soon(&source, xid, &log).await;
    }
    let (source, question) = (&source, &question);
    let (root, ahead) = answered(&log, || answer(source, question)).await;
    Answer {
        root,
        ahead,
        is_unseen,
    }
}

/// Whether the source has partitioned tables, as of the end of the transaction that is being read.
pub(super) async fn has_partitions(source: PgPool, xid: Option<u32>, log: Logger) -> bool {
    if let Some(xid) = xid {
        is_seen_soon(&source, xid, &log).await;
    }
    let source = &source;
    answered(&log, || catalog::has_partitioned_tables(source)).await
}

/// Asks again for as long as the source does not answer.
async fn answered<T, F>(log: &Logger, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Ok(answer) => {
                if pause > FIRST_PAUSE {
                    info!(log, "the source's catalogs can be read again"; "event" => "source_catalogs_restored");
                }
                return answer;
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    warn!(log, "cannot ask the source about its tables, trying again until it works; reading is paused";
                        "event" => "source_catalogs_failing", "error" => #&error);
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn answer(
    source: &PgPool,
    question: &Question,
) -> Result<(PartitionRoot, Option<Arc<Description>>), StoreError> {
    let Question { schema, table, .. } = question;
    let root = catalog::partition_root(source, schema, table).await?;
    let ahead = match (&question.look_ahead, question.xid) {
        (Some(look_ahead), Some(xid)) => look_ahead.made_by(xid, question.version, (schema, table)).await?,
        _ => None,
    };
    Ok((root, ahead.map(Arc::new)))
}

/// Waits for a while until other sessions see what the transaction did: its commit is read a little before they do.
async fn is_seen_soon(source: &PgPool, xid: u32, log: &Logger) -> bool {
    let seen = async {
        // Where this cannot be asked, the questions that follow fail as well, and that is told and repeated.
        while matches!(catalog::is_visible(source, xid).await, Ok(false)) {
            sleep(LOOK_AGAIN).await;
        }
    };
    let is_seen = timeout(SEEN_WITHIN, seen).await.is_ok();
    if !is_seen {
        warn!(log, "what a transaction did cannot be seen yet, although it is committed, because commits wait for a stand-by; \
            if it made or attached a partition, events of that may not reach who is subscribed to its root, and those of a \
            table that it made with its rows may lack metadata"; "xid" => xid);
    }
    is_seen
}
