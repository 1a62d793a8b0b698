//! What each request about backfills does.

use serde::{Deserialize, Serialize};
use slog::info;
use warp::http::StatusCode;
use warp::reply::Response;

use super::handlers::{origin, shown};
use super::operator_routes::{Desk, fulfil, refusal, unavailable};
use super::refusal::Refusal;
use super::wire::parse_body;
use crate::operator::{backfills, endpoints};
use crate::patterns::Patterns;
use crate::snapshot::SnapshotError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskBody {
    url: Option<String>,
    tables: Option<String>,
    excluded_tables: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelBody {
    id: Option<i64>,
}

#[derive(Serialize)]
struct Accepted<'a> {
    id: i64,
    url: &'a str,
    tables: Vec<String>,
}

/// Asks for one.
pub(super) async fn ask(desk: &Desk, body: &[u8]) -> Result<Response, Refusal> {
    let body: AskBody = parse_body(body)?;
    let url = body
        .url
        .ok_or_else(|| Refusal::invalid_field("url", "url is missing: give the URL of the endpoint"))?;
    let tables = patterns("tables", body.tables.as_deref())?;
    if tables.is_empty() {
        let message = "tables is missing: name them, separated by blanks, for example \"orders sales.*\"";
        return Err(Refusal::invalid_field("tables", message));
    }
    let excluded = patterns("excluded_tables", body.excluded_tables.as_deref())?;
    let state = &desk.state;
    let known = endpoints::check_known(&state.store, "url", &url);
    known.await.map_err(|error| refusal(state, error))?;
    match state.asking.ask(&url, &tables, &excluded).await {
        Ok(asked) => {
            info!(state.log, "an operator asked for a backfill"; "origin" => origin(&url), "backfill" => asked.backfill);
            let accepted = Accepted {
                id: asked.backfill,
                url: &url,
                tables: asked.tables,
            };
            Ok(shown(StatusCode::ACCEPTED, &accepted))
        }
        Err(error @ (SnapshotError::Obstacles(_) | SnapshotError::Nothing)) => {
            Err(Refusal::invalid_field("tables", error.to_string()))
        }
        Err(error) => {
            state.failed("a backfill could not be asked for", &error);
            Err(unavailable())
        }
    }
}

/// Lists those of the last days.
pub(super) async fn list(desk: &Desk) -> Result<Response, Refusal> {
    fulfil(desk, backfills::list(&desk.state.store)).await
}

/// Breaks one off.
pub(super) async fn cancel(desk: &Desk, body: &[u8]) -> Result<Response, Refusal> {
    let CancelBody { id } = parse_body(body)?;
    let id =
        id.ok_or_else(|| Refusal::invalid_field("id", "id is missing: give the number of the backfill"))?;
    let response = fulfil(desk, backfills::cancel(&desk.state.store, id)).await?;
    info!(desk.state.log, "an operator cancelled a backfill"; "backfill" => id);
    Ok(response)
}

fn patterns(field: &'static str, text: Option<&str>) -> Result<Patterns, Refusal> {
    Patterns::separated_by_blanks(text.unwrap_or_default())
        .map_err(|error| Refusal::invalid_field(field, error.to_string()))
}
