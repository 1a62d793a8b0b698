//! Changes as digests of their content, counted: what the plugin reports, and what arrives as webhooks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};

use pgstream::receiver::EmbeddedReceiver;
use serde::Deserialize;
use serde_json::value::RawValue;
use slog::{Discard, Logger, o};
use tokio::task::JoinHandle;
use xxhash_rust::xxh3::xxh3_128;

/// How many differences are shown.
const SHOWN: usize = 10;

/// A change as both sides have it, its names and values as raw JSON.
#[derive(Deserialize)]
struct Change<'a> {
    action: &'a str,
    lsn: Option<&'a str>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    table: Option<&'a RawValue>,
    #[serde(borrow)]
    columns: Option<Vec<Column<'a>>>,
    #[serde(borrow)]
    identity: Option<Vec<Column<'a>>>,
    transactional: Option<bool>,
    #[serde(borrow)]
    prefix: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Column<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow, rename = "type")]
    type_name: &'a RawValue,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "Data")]
    data: Change<'a>,
}

impl Change<'_> {
    /// All that the event is to have of the change, as one text. Columns that an update left untouched, and that the old
    /// row holds, are those of the old row on both sides: pgstream fills them in.
    fn content(&self) -> String {
        let raw = |value: Option<&RawValue>| value.map_or("\"\"", RawValue::get).to_owned();
        let column = |column: &Column<'_>| {
            let value = column.value.map_or("null", RawValue::get);
            format!("{}:{}={value}", column.name.get(), column.type_name.get())
        };
        let columns = self.columns.as_deref().unwrap_or_default();
        let identity = self.identity.as_deref().unwrap_or_default();
        let untouched = identity
            .iter()
            .filter(|old| self.action == "U" && !columns.iter().any(|new| new.name.get() == old.name.get()));
        let mut new: Vec<String> = columns.iter().chain(untouched).map(column).collect();
        new.sort_unstable();
        let old: Vec<String> = identity.iter().map(column).collect();
        [
            self.action.to_owned(),
            self.lsn.unwrap_or_default().to_owned(),
            raw(self.schema),
            raw(self.table),
            new.join(","),
            old.join(","),
            format!("{:?}", self.transactional),
            raw(self.prefix),
            raw(self.content),
        ]
        .join("|")
    }

    /// Whether it is one of those that are never delivered: what pgstream writes for itself, all but the entries of the
    /// schema log.
    fn is_internal(&self) -> bool {
        let is = |value: Option<&RawValue>, text: &str| {
            value.is_some_and(|raw| raw.get().trim_matches('"') == text)
        };
        is(self.schema, "pgstream") && !(is(self.table, "schema_log") && self.action == "I")
    }
}

/// How often each change was seen.
#[derive(Default)]
pub(super) struct Account {
    counts: HashMap<u128, Counted>,
    /// Records that are not UTF-8, since the suite stores text that is none, in hexadecimal.
    pub(super) unreadable: BTreeSet<String>,
}

struct Counted {
    times: usize,
    /// The beginning of the change, to be shown.
    beginning: String,
}

impl Account {
    fn add(&mut self, content: &str) {
        let counted = self
            .counts
            .entry(xxh3_128(content.as_bytes()))
            .or_insert_with(|| Counted {
                times: 0,
                beginning: content.chars().take(240).collect(),
            });
        counted.times += 1;
    }

    /// Reads wal2json's records, a line each as COPY writes it: with backslashes doubled, and nothing else, for JSON has no
    /// control characters.
    pub(super) fn of_plugin(output: impl Read) -> Self {
        let mut account = Self::default();
        let mut reader = BufReader::with_capacity(1 << 20, output);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).expect("the pipe is readable") > 0 {
            let mut is_second = false;
            line.retain(|byte| {
                is_second = *byte == b'\\' && !is_second;
                !is_second
            });
            let Ok(text) = std::str::from_utf8(&line) else {
                let hex = line.trim_ascii_end().iter().map(|byte| format!("{byte:02x}"));
                account.unreadable.insert(hex.collect());
                line.clear();
                continue;
            };
            let change: Change<'_> =
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            if !matches!(change.action, "B" | "C") && !change.is_internal() {
                account.add(&change.content());
            }
            line.clear();
        }
        account
    }

    pub(super) fn len(&self) -> usize {
        self.counts.values().map(|counted| counted.times).sum()
    }

    /// What is missing in `delivered`, what is too much, and what came another number of times.
    pub(super) fn compare(&self, delivered: &Self) -> Vec<String> {
        let times =
            |account: &Self, digest: &u128| account.counts.get(digest).map_or(0, |counted| counted.times);
        let all: HashSet<&u128> = self.counts.keys().chain(delivered.counts.keys()).collect();
        let differing: Vec<&u128> = all
            .into_iter()
            .filter(|digest| times(self, digest) != times(delivered, digest))
            .collect();
        let shown = differing.iter().take(SHOWN).map(|digest| {
            let counted = self.counts.get(digest).or_else(|| delivered.counts.get(digest));
            format!(
                "reported {} times, delivered {}: {}",
                times(self, digest),
                times(delivered, digest),
                counted.map_or("", |counted| &counted.beginning)
            )
        });
        let shown: Vec<String> = shown.collect();
        match differing.len() {
            0 => Vec::new(),
            count => vec![format!("{count} changes differ:\n  {}", shown.join("\n  "))],
        }
    }
}

/// A receiver that counts what it is sent, each `webhook-id` once.
pub(super) struct Recorder {
    receiver: EmbeddedReceiver,
    counting: JoinHandle<Account>,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let (receiver, mut events) = EmbeddedReceiver::start(Logger::root(Discard, o!()))
            .await
            .expect("a port is free");
        let counting = tokio::spawn(async move {
            let mut account = Account::default();
            let mut ids = HashSet::new();
            while let Some(event) = events.recv().await {
                let id = event.headers.get("webhook-id").map(|id| xxh3_128(id.as_bytes()));
                if !ids.insert(id.expect("each request has an id")) {
                    continue;
                }
                let text = std::str::from_utf8(&event.body).expect("bodies are UTF-8");
                let body: Body<'_> =
                    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                account.add(&body.data.content());
            }
            account
        });
        Self { receiver, counting }
    }

    pub(super) fn url(&self) -> String {
        self.receiver.url("/")
    }

    pub(super) async fn stop(self) -> Account {
        self.receiver.stop().await;
        self.counting.await.expect("what arrived could be read")
    }
}
