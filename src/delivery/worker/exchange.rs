//! One exchange: a POST and what came of it.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use ureq::http::{Request, Response, header};
use ureq::{Body, Error};

use super::slot::Slot;
use crate::delivery::outcome::{self, Outcome, Reason};
use crate::delivery::request::Message;
use crate::delivery::target::Target;
use crate::event::Event;

/// How much of an answer's body is read, so that its connection can be used again. More closes the connection.
const MAX_BODY_LEN: usize = 4 * 1024;

/// What came of an exchange.
#[derive(Debug)]
pub(in crate::delivery) struct Answer {
    pub(in crate::delivery) outcome: Outcome,
    /// The error to be remembered with the deliveries; empty if there is none.
    pub(in crate::delivery) text: String,
}

impl Answer {
    /// No answer came, for this reason.
    pub(in crate::delivery) fn failed(reason: Reason) -> Self {
        let outcome = Outcome::retry(reason);
        Self {
            text: outcome::error_text(&outcome, &[]),
            outcome,
        }
    }
}

/// Posts `events` to `target` on `slot` and waits for the outcome: one event as it is, several, or one of an endpoint
/// that gets batches, as a batch.
///
/// The outcome is decided when the head of the response is complete. A used connection that broke before any byte of
/// an answer says nothing about the endpoint: the request is tried once more at once, on a fresh one.
pub(in crate::delivery) fn exchange(
    slot: &Slot,
    target: &Target,
    events: &[Arc<Event>],
    batched: bool,
) -> Answer {
    let message = Message::new(events, batched);
    let mut answer = post(slot, target, &message);
    if matches!(&answer, Err(Error::Io(_))) && slot.probe.stale_connection() {
        answer = post(slot, target, &message);
    }
    match answer {
        Ok(response) => {
            let outcome = read_head(&response);
            let body = read_body(response);
            if outcome == Outcome::Delivered {
                return Answer {
                    outcome,
                    text: String::new(),
                };
            }
            Answer {
                text: outcome::error_text(&outcome, &body),
                outcome,
            }
        }
        Err(error) => Answer::failed(reason(&error)),
    }
}

fn post(slot: &Slot, target: &Target, message: &Message<'_>) -> Result<Response<Body>, Error> {
    slot.probe.reset();
    let mut request = Request::post(target.request_url());
    for (name, value) in message.headers(SystemTime::now()) {
        request = request.header(name, value);
    }
    if let Some(authorization) = target.authorization() {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    slot.agent.run(request.body(message.body())?)
}

fn read_head(response: &Response<Body>) -> Outcome {
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    outcome::of_response(response.status().as_u16(), retry_after, SystemTime::now())
}

/// Reads the body to its end, within its bounds, so that the connection can be used again. Trouble closes it. Returns
/// its first words.
fn read_body(mut response: Response<Body>) -> Vec<u8> {
    let mut reader = response.body_mut().as_reader();
    let mut buffer = [0; 1024];
    let (mut total, mut words) = (0, Vec::new());
    while total < MAX_BODY_LEN {
        match reader.read(&mut buffer) {
            Ok(read) if read > 0 => {
                if total == 0 {
                    words.extend_from_slice(&buffer[..read]);
                }
                total += read;
            }
            _ => break,
        }
    }
    words
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Timeout(_) => Reason::Timeout,
        Error::HostNotFound => Reason::Network("the host was not found".to_owned()),
        other => Reason::Network(other.to_string()),
    }
}
