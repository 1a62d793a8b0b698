//! What each request about endpoints does.

use serde::Deserialize;
use slog::info;
use warp::reply::Response;

use super::handlers::origin;
use super::operator_routes::{Act, Desk, for_a_while, fulfil};
use super::query::parameters;
use super::refusal::Refusal;
use super::wire::parse_body;
use crate::operator::documents::MoveDocument;
use crate::operator::endpoints::{self, Step};
use crate::operator::moving::move_backlog;
use crate::operator::settings::{self, SettingTexts};

/// `null` is the same as nothing, here and below.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StandingBody {
    url: Option<String>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlBody {
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveBody {
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetBody {
    url: Option<String>,
    order: Option<String>,
    in_flight: Option<Text>,
    timeout: Option<Text>,
    batch_size: Option<Text>,
    batch_wait: Option<Text>,
    batch_bytes: Option<Text>,
    new: Option<bool>,
}

/// Text, or a number that is read like text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a number")]
pub(super) enum Text {
    Text(String),
    Number(serde_json::Number),
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        match text {
            Text::Text(text) => text,
            Text::Number(number) => number.to_string(),
        }
    }
}

/// All endpoints, or the one that the query names.
pub(super) async fn look(desk: &Desk, query: &str) -> Result<Response, Refusal> {
    let [url] = parameters(query, ["url"])?;
    match url {
        Some(url) => fulfil(desk, endpoints::show(&desk.state.store, &url)).await,
        None => fulfil(desk, endpoints::list(&desk.state.store)).await,
    }
}

/// Does something to one.
pub(super) async fn act(desk: &Desk, act: Act, body: &[u8]) -> Result<Response, Refusal> {
    match act {
        Act::Pause => stand_with_reason(desk, Step::Pause, body).await,
        Act::Disable => stand_with_reason(desk, Step::Disable, body).await,
        Act::Resume => stand(desk, Step::Resume, body).await,
        Act::Enable => stand(desk, Step::Enable, body).await,
        Act::Set => set(desk, body).await,
        Act::Move => relocate(desk, body).await,
    }
}

async fn stand_with_reason(desk: &Desk, step: Step, body: &[u8]) -> Result<Response, Refusal> {
    let StandingBody { url, reason } = parse_body(body)?;
    change_standing(desk, step, &required("url", url)?, reason.as_deref()).await
}

async fn stand(desk: &Desk, step: Step, body: &[u8]) -> Result<Response, Refusal> {
    let UrlBody { url } = parse_body(body)?;
    change_standing(desk, step, &required("url", url)?, None).await
}

async fn change_standing(
    desk: &Desk,
    step: Step,
    url: &str,
    reason: Option<&str>,
) -> Result<Response, Refusal> {
    let work = endpoints::change_standing(&desk.state.store, url, step, reason);
    let response = fulfil(desk, work).await?;
    info!(desk.state.log, "an operator changed how an endpoint stands";
        "origin" => origin(url), "step" => ?step);
    Ok(response)
}

async fn set(desk: &Desk, body: &[u8]) -> Result<Response, Refusal> {
    let body: SetBody = parse_body(body)?;
    let url = required("url", body.url)?;
    let texts = SettingTexts {
        order: body.order,
        in_flight: body.in_flight.map(String::from),
        timeout: body.timeout.map(String::from),
        batch_size: body.batch_size.map(String::from),
        batch_wait: body.batch_wait.map(String::from),
        batch_bytes: body.batch_bytes.map(String::from),
    };
    let work = async {
        let changes = settings::parse(&texts)?;
        settings::set(&desk.state.store, &url, &changes, body.new.unwrap_or_default()).await
    };
    let response = fulfil(desk, work).await?;
    info!(desk.state.log, "an operator changed an endpoint's settings"; "origin" => origin(&url));
    Ok(response)
}

async fn relocate(desk: &Desk, body: &[u8]) -> Result<Response, Refusal> {
    let MoveBody { from, to } = parse_body(body)?;
    let (from, to) = (required("from", from)?, required("to", to)?);
    let mut go_on = for_a_while::<MoveDocument>();
    let response = fulfil(desk, move_backlog(&desk.state.store, &from, &to, &mut go_on)).await?;
    info!(desk.state.log, "an operator moved a backlog"; "from" => origin(&from), "to" => origin(&to));
    Ok(response)
}

fn required(field: &'static str, value: Option<String>) -> Result<String, Refusal> {
    value.ok_or_else(|| {
        Refusal::invalid_field(field, format!("{field} is missing: give the URL of the endpoint"))
    })
}
