//! One exchange: a POST and what came of it.

use std::io::Read;
use std::time::SystemTime;

use ureq::http::{Request, Response, header};
use ureq::{Body, Error};

use super::slot::Slot;
use crate::delivery::outcome::{self, Outcome, Reason};
use crate::delivery::request;
use crate::delivery::target::Target;
use crate::event::Event;

/// How much of an answer's body is read, so that its connection can be used again. More closes the connection.
const MAX_BODY_LEN: usize = 4 * 1024;

/// Posts `event` to `target` on `slot` and waits for the outcome.
///
/// The outcome is decided when the head of the response is complete. A used connection that broke before any byte of
/// an answer says nothing about the endpoint: the request is tried once more at once, on a fresh one.
pub(in crate::delivery) fn exchange(slot: &Slot, target: &Target, event: &Event) -> Outcome {
    let mut answer = post(slot, target, event);
    if matches!(&answer, Err(Error::Io(_))) && slot.probe.stale_connection() {
        answer = post(slot, target, event);
    }
    match answer {
        Ok(response) => {
            let outcome = read_head(&response);
            read_body(response);
            outcome
        }
        Err(error) => Outcome::retry(reason(&error)),
    }
}

fn post(slot: &Slot, target: &Target, event: &Event) -> Result<Response<Body>, Error> {
    slot.probe.reset();
    let mut request = Request::post(target.request_url());
    for (name, value) in request::headers(event, SystemTime::now()) {
        request = request.header(name, value);
    }
    if let Some(authorization) = target.authorization() {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    slot.agent.run(request.body(event.payload.as_slice())?)
}

fn read_head(response: &Response<Body>) -> Outcome {
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    outcome::of_response(response.status().as_u16(), retry_after, SystemTime::now())
}

/// Reads the body to its end, within its bounds, so that the connection can be used again. Trouble closes it.
fn read_body(mut response: Response<Body>) {
    let mut reader = response.body_mut().as_reader();
    let mut buffer = [0; 1024];
    let mut total = 0;
    while total < MAX_BODY_LEN {
        match reader.read(&mut buffer) {
            Ok(read) if read > 0 => total += read,
            _ => return,
        }
    }
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Timeout(_) => Reason::Timeout,
        Error::HostNotFound => Reason::Network("the host was not found".to_owned()),
        other => Reason::Network(other.to_string()),
    }
}
