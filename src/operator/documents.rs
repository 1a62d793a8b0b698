//! What is answered, in the shape that programs read: the command line with `--json`, and the API. Members are only
//! ever added.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::endpoint::model::{EndpointOverrides, Order};
use crate::store::letters::Letter;

/// All endpoints.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointList {
    /// In the order of their URLs.
    pub endpoints: Vec<EndpointSummary>,
}

/// An endpoint in a list.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointSummary {
    /// Its URL, which is its name.
    pub url: String,
    /// What is wanted of it: `active`, `paused` or `disabled`.
    pub standing: &'static str,
    /// Why that is wanted.
    pub standing_reason: Option<String>,
    /// How it does; `None` until a running program said so.
    pub health: Option<HealthDocument>,
    /// What waits for it in the store.
    pub backlog: BacklogDocument,
    /// How many dead letters it has.
    pub dead_letters: u64,
    /// The settings that are not left at their defaults.
    pub settings: SettingsDocument,
}

/// How an endpoint does.
#[derive(Debug, Clone, Serialize)]
pub struct HealthDocument {
    /// Its state.
    pub state: String,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub since: SystemTime,
    /// Why.
    pub reason: Option<String>,
}

/// What waits for an endpoint.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BacklogDocument {
    /// The events.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since when the oldest waits.
    #[serde(serialize_with = "optional_time")]
    pub oldest: Option<SystemTime>,
}

/// Settings that are not left at their defaults.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SettingsDocument {
    /// `key`, `serial` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<&'static str>,
    /// Requests at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    /// Such as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Events in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Such as `100ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_wait: Option<String>,
    /// Bytes of one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_bytes: Option<u64>,
}

impl From<&EndpointOverrides> for SettingsDocument {
    fn from(set: &EndpointOverrides) -> Self {
        // Without spaces, as it is written on a command line.
        let duration = |time: Duration| humantime::format_duration(time).to_string().replace(' ', "");
        Self {
            order: set.order.map(Order::as_str),
            in_flight: set.in_flight,
            timeout: set.timeout.map(duration),
            batch_size: set.batch_size,
            batch_wait: set.batch_wait.map(duration),
            batch_bytes: set.batch_bytes,
        }
    }
}

/// An endpoint alone.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointDetails {
    /// What a list says of it.
    #[serde(flatten)]
    pub summary: EndpointSummary,
    /// What it is subscribed to.
    pub subscriptions: Vec<SubscriptionDocument>,
    /// The youngest error that the store remembers.
    pub last_error: Option<ErrorDocument>,
}

/// A subscription of an endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionDocument {
    /// Its schema; empty for every one.
    pub schema: String,
    /// Its table; empty for every one.
    pub table: String,
    /// Its types of change.
    pub event_types: Vec<&'static str>,
}

/// An error.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorDocument {
    /// What went wrong.
    pub message: String,
    /// When.
    #[serde(serialize_with = "optional_time")]
    pub at: Option<SystemTime>,
}

/// What a move did.
#[derive(Debug, Clone, Serialize)]
pub struct MoveDocument {
    /// Whose backlog it was.
    pub from: String,
    /// Whose it is.
    pub to: String,
    /// The events that were moved.
    pub moved: u64,
    /// The events that were not, because the other backlog had them already; they are in that one only.
    pub already_there: u64,
    /// Whether everything was moved that was there at the beginning. If not, doing it again goes on.
    pub complete: bool,
}

/// Some dead letters.
#[derive(Debug, Clone, Serialize)]
pub struct LetterList {
    /// The youngest first.
    pub dead_letters: Vec<LetterDocument>,
    /// Whether there are more than was asked for.
    pub more: bool,
}

/// A dead letter.
#[derive(Debug, Clone, Serialize)]
pub struct LetterDocument {
    /// Its number.
    pub id: i64,
    /// Who should have got it; `None` where that could not be known.
    pub endpoint: Option<String>,
    /// The id of its event.
    pub webhook_id: String,
    /// Why it is dead.
    pub reason: String,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub died_at: SystemTime,
    /// The schema of its table.
    pub schema: Option<String>,
    /// Its table.
    pub table: Option<String>,
    /// The schema of the partitioned table that its table belongs to.
    pub root_schema: Option<String>,
    /// The partitioned table that its table belongs to.
    pub root_table: Option<String>,
    /// `I`, `U`, `D` or `T`.
    pub action: Option<String>,
    /// `stream`, `snapshot`, `replay` or `move`.
    pub origin: String,
    /// The number of the replay that it died in; 0 for none.
    pub replay_run: i64,
    /// The end of the transaction's commit.
    pub commit_lsn: String,
    /// The change.
    pub lsn: String,
    /// The length of the payload.
    pub bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// How the first try failed.
    pub first_error: Option<String>,
    /// How the last try failed.
    pub last_error: Option<String>,
    /// When it was tried first.
    #[serde(serialize_with = "optional_time")]
    pub first_attempt_at: Option<SystemTime>,
    /// When it was tried last.
    #[serde(serialize_with = "optional_time")]
    pub last_attempt_at: Option<SystemTime>,
}

impl From<Letter> for LetterDocument {
    fn from(letter: Letter) -> Self {
        let Letter {
            id,
            endpoint,
            webhook_id,
            replay_run,
            origin,
            schema,
            table,
            root_schema,
            root_table,
            action,
            commit_lsn,
            lsn,
            bytes,
            attempts,
            first_error,
            last_error,
            first_attempt_at,
            last_attempt_at,
            reason,
            died_at,
        } = letter;
        Self {
            id,
            endpoint,
            webhook_id,
            reason,
            died_at,
            schema,
            table,
            root_schema,
            root_table,
            action,
            origin,
            replay_run,
            commit_lsn,
            lsn,
            bytes,
            attempts,
            first_error,
            last_error,
            first_attempt_at,
            last_attempt_at,
        }
    }
}

/// A dead letter alone. One of the two members of its payload is `None`.
#[derive(Debug, Clone, Serialize)]
pub struct LetterDetails {
    /// What a list says of it.
    #[serde(flatten)]
    pub letter: LetterDocument,
    /// The payload, where it is JSON: exactly as it would have been sent.
    pub payload: Option<Box<RawValue>>,
    /// The payload in base64 (RFC 4648, section 4), where it is not.
    pub payload_base64: Option<String>,
}

impl LetterDetails {
    /// A letter and its payload.
    #[must_use]
    pub fn new(letter: LetterDocument, payload: &[u8]) -> Self {
        let json = std::str::from_utf8(payload)
            .ok()
            .and_then(|text| RawValue::from_string(text.to_owned()).ok());
        Self {
            letter,
            payload_base64: json.is_none().then(|| BASE64_STANDARD.encode(payload)),
            payload: json,
        }
    }
}

/// What a replay did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct ReplayDocument {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The letters with an endpoint that fulfilled the filter at the beginning.
    pub matching: u64,
    /// Those without one, which cannot be replayed and stay.
    pub not_replayable: u64,
    /// The letters that wait in a backlog now.
    pub replayed: u64,
    /// The letters that are gone because another one of the same event was replayed to the same endpoint.
    pub duplicates: u64,
    /// The number of this replay.
    pub replay_run: Option<i64>,
    /// Whether everything was done that was to be done. If not, doing it again goes on.
    pub complete: bool,
}

/// What a discarding did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct DiscardDocument {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The letters that fulfilled the filter at the beginning.
    pub matching: u64,
    /// The letters that are gone.
    pub discarded: u64,
    /// Whether everything was done that was to be done. If not, doing it again goes on.
    pub complete: bool,
}

/// A time as programs and people read it (RFC 3339, UTC).
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

fn optional_time<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(timestamp).serialize(serializer)
}
