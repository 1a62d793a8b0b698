//! The body and the headers of a delivery.
//!
//! One event is sent as it was encoded. A batch is `{"Data": [ … ]}`, the events in their order; its id is made of the ids
//! of its events, so that the same batch has the same id whenever it is sent again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::Xxh3;

use crate::event::{Event, Origin};

/// What every request says about itself in `User-Agent`.
pub(super) const USER_AGENT: &str = concat!("pgstream/", env!("CARGO_PKG_VERSION"));

/// What is before a change in the body of a single event.
const ENVELOPE: (&[u8], &[u8]) = (br#"{"Data":"#, b"}");

/// One request: what is sent, and what is said about it.
pub(super) struct Message<'a> {
    events: &'a [Arc<Event>],
    batched: bool,
    body: Cow<'a, [u8]>,
}

impl<'a> Message<'a> {
    /// A request for these events, which are at least one.
    pub(super) fn new(events: &'a [Arc<Event>], batched: bool) -> Self {
        let body = match events {
            [event] if !batched => Cow::Borrowed(event.payload.as_slice()),
            _ => Cow::Owned(batch_body(events)),
        };
        Self {
            events,
            batched,
            body,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its headers, sent at `now`. The id and the timestamp are those of
    /// [Standard Webhooks](https://www.standardwebhooks.com/).
    pub(super) fn headers(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let timestamp = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = self.id();
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("idempotency-key", id.clone()),
            ("webhook-id", id),
        ];
        if let Some(last) = self.events.last() {
            headers.push(("x-pgstream-lsn", last.position.lsn.to_string()));
        }
        if self.batched {
            headers.push(("x-pgstream-batch-size", self.events.len().to_string()));
        }
        if self.events.iter().any(|event| event.origin == Origin::Replay) {
            headers.push(("webhook-replay", "true".to_owned()));
        }
        headers
    }

    fn id(&self) -> String {
        match self.events {
            [event] if !self.batched => event.id.clone(),
            events => {
                let mut hash = Xxh3::new();
                for event in events {
                    hash.update(event.id.as_bytes());
                    hash.update(&[0]);
                }
                format!("batch-{:032x}", hash.digest128())
            }
        }
    }
}

fn batch_body(events: &[Arc<Event>]) -> Vec<u8> {
    let length = events.iter().map(|event| event.payload.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(length + 16);
    body.extend_from_slice(br#"{"Data":["#);
    for (position, event) in events.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        let payload = event.payload.as_slice();
        let change = payload
            .strip_prefix(ENVELOPE.0)
            .and_then(|rest| rest.strip_suffix(ENVELOPE.1));
        body.extend_from_slice(change.unwrap_or(payload));
    }
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
mod tests {
    use pgstream_proto::Lsn;

    use super::*;
    use crate::event::{LaneKey, LaneKeys, Place, Position, TableKey, TableName};
    use crate::progress::Budget;

    fn event(number: u64, origin: Origin) -> Arc<Event> {
        let lsn = Lsn::new(number);
        Arc::new(Event {
            id: format!("id-{number}"),
            table: Arc::new(TableName {
                schema: "public".into(),
                table: "t".into(),
                root: None,
            }),
            action: 'I',
            position: Position {
                source: 1,
                epoch: 1,
                commit_lsn: lsn,
                lsn,
            },
            origin,
            replay_run: 0,
            place: Place {
                table: TableKey(1),
                keys: LaneKeys::Row(LaneKey(number)),
                key_set: None,
            },
            payload: format!(r#"{{"Data":{{"n":{number}}}}}"#).into_bytes(),
            share: Budget::new(10).try_take(1).unwrap(),
        })
    }

    fn header<'a>(headers: &'a [(&str, String)], name: &str) -> Option<&'a str> {
        headers
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_single_event_is_sent_as_it_is() {
        let events = [event(7, Origin::Stream)];
        let message = Message::new(&events, false);
        assert_eq!(message.body(), br#"{"Data":{"n":7}}"#);
        let headers = message.headers(UNIX_EPOCH + std::time::Duration::from_secs(5));
        for (name, value) in [
            ("webhook-id", "id-7"),
            ("idempotency-key", "id-7"),
            ("webhook-timestamp", "5"),
        ] {
            assert_eq!(header(&headers, name), Some(value));
        }
        assert_eq!(header(&headers, "x-pgstream-lsn"), Some("0/7"));
        assert_eq!(header(&headers, "x-pgstream-batch-size"), None);
        assert_eq!(header(&headers, "webhook-replay"), None);
    }

    #[test]
    fn a_batch_has_its_events_in_order_and_an_id_of_their_ids() {
        let events = [event(1, Origin::Stream), event(2, Origin::Replay)];
        let message = Message::new(&events, true);
        assert_eq!(message.body(), br#"{"Data":[{"n":1},{"n":2}]}"#);
        let headers = message.headers(UNIX_EPOCH);
        assert_eq!(header(&headers, "x-pgstream-batch-size"), Some("2"));
        assert_eq!(header(&headers, "webhook-replay"), Some("true"));
        let id = header(&headers, "webhook-id").unwrap();
        assert_eq!(id, Message::new(&events, true).id());
        assert_ne!(id, Message::new(&events[..1], true).id());
        assert_eq!(Message::new(&events[..1], true).body(), br#"{"Data":[{"n":1}]}"#);
    }
}
