//! Bodies of requests, and subscriptions as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::subscription::{EventTypes, Subscription};

/// The body of a request. `null` is the same as nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    url: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    event_types: Option<Vec<String>>,
}

/// A subscription in an answer.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    url: &'a str,
    schema: &'a str,
    table: &'a str,
    event_types: Vec<&'static str>,
}

impl<'a> From<&'a Subscription> for Shown<'a> {
    fn from(subscription: &'a Subscription) -> Self {
        Self {
            url: &subscription.url,
            schema: &subscription.schema,
            table: &subscription.table,
            event_types: subscription.event_types.letters(),
        }
    }
}

/// The subscription that a body describes.
pub(super) fn parse(body: &[u8]) -> Result<Subscription, Refusal> {
    let Body {
        url,
        schema,
        table,
        event_types,
    } = parse_body::<Body>(body)?;
    let url = url.ok_or_else(|| {
        Refusal::invalid_field(
            "url",
            "url is missing: give the http or https URL that shall receive the events",
        )
    })?;
    let event_types = EventTypes::from_letters(event_types.unwrap_or_default())?;
    Ok(Subscription::new(
        url,
        schema.unwrap_or_default(),
        table.unwrap_or_default(),
        event_types,
    )?)
}

/// The body of a request, which is one JSON object and nothing else.
pub(super) fn parse_body<B: DeserializeOwned>(body: &[u8]) -> Result<B, Refusal> {
    // serde would take an array for the members in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::invalid_body("the body has to be a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let first = error.path().iter().next().map(ToString::to_string);
        let path = error.path().to_string();
        match (first, error.into_inner()) {
            (Some(field), error) if error.is_data() => {
                Refusal::invalid_field(field, format!("{path}: {error}"))
            }
            (_, error) => Refusal::invalid_body(format!("the body is wrong: {error}")),
        }
    })?;
    json.end()
        .map_err(|error| Refusal::invalid_body(format!("the body goes on after its end: {error}")))?;
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use warp::reply::Reply;

    use super::*;

    #[test]
    fn bodies_of_the_tutorial_are_understood() {
        let cases: &[(&str, [&str; 3], &[&str])] = &[
            (
                r#"{"url": "http://h/a", "event_types":["I"]}"#,
                ["http://h/a", "", ""],
                &["I"],
            ),
            (
                r#" {"url":"http://h","schema":"public","table":"test"} "#,
                ["http://h", "public", "test"],
                &["I", "U", "D", "T"],
            ),
            (
                r#"{"url":"http://h","schema":null,"table":"","event_types":[]}"#,
                ["http://h", "", ""],
                &["I", "U", "D", "T"],
            ),
            (
                r#"{"url":"http:\/\/h","event_types":["U","I","U"]}"#,
                ["http://h", "", ""],
                &["I", "U"],
            ),
        ];
        for (body, [url, schema, table], letters) in cases {
            let parsed = parse(body.as_bytes()).unwrap();
            let expected =
                Subscription::new(*url, *schema, *table, EventTypes::from_letters(*letters).unwrap());
            assert_eq!(Ok(parsed), expected, "{body}");
        }
    }

    #[tokio::test]
    async fn wrong_bodies_are_refused_by_name() {
        let cases = [
            ("", "invalid_body", None, "JSON object"),
            ("[\"http://h\"]", "invalid_body", None, "JSON object"),
            ("\"http://h\"", "invalid_body", None, "JSON object"),
            ("{\"url\":", "invalid_body", None, "EOF"),
            (r#"{"url":"http://h"} x"#, "invalid_body", None, "goes on"),
            (
                r#"{"url":"http://h","url":"http://i"}"#,
                "invalid_body",
                None,
                "duplicate field `url`",
            ),
            (
                r#"{"url":"http://h","urls":1}"#,
                "invalid_field",
                Some("urls"),
                "unknown field `urls`",
            ),
            ("{}", "invalid_field", Some("url"), "url is missing"),
            (r#"{"url":null}"#, "invalid_field", Some("url"), "url is missing"),
            (r#"{"url":5}"#, "invalid_field", Some("url"), "expected a string"),
            (r#"{"url":"ftp://h"}"#, "invalid_field", Some("url"), "http://"),
            (
                r#"{"url":"http://h/#a"}"#,
                "invalid_field",
                Some("url"),
                "fragment",
            ),
            (
                r#"{"url":"http://h","schema":[]}"#,
                "invalid_field",
                Some("schema"),
                "expected a string",
            ),
            (
                r#"{"url":"http://h","table":"a\u0000"}"#,
                "invalid_field",
                Some("table"),
                "zero",
            ),
            (
                r#"{"url":"http://h","event_types":"I"}"#,
                "invalid_field",
                Some("event_types"),
                "sequence",
            ),
            (
                r#"{"url":"http://h","event_types":["I",1]}"#,
                "invalid_field",
                Some("event_types"),
                "[1]",
            ),
            (
                r#"{"url":"http://h","event_types":["X"]}"#,
                "invalid_field",
                Some("event_types"),
                "\"X\"",
            ),
        ];
        for (body, code, field, words) in cases {
            let response = parse(body.as_bytes()).unwrap_err().into_response();
            assert_eq!(response.status(), 400, "{body}");
            let answer = http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap()
                .to_bytes();
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            let error = &answer["error"];
            assert_eq!(
                (error["code"].as_str(), error["field"].as_str()),
                (Some(code), field),
                "{body}: {answer}"
            );
            assert!(
                error["message"].as_str().unwrap().contains(words),
                "{body}: {answer}"
            );
        }
    }
}
