//! What each request about dead letters does.

use std::time::SystemTime;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use slog::info;
use warp::reply::Response;

use super::endpoints::Text;
use super::operator_routes::{Desk, for_a_while, fulfil};
use super::query::parameters;
use super::refusal::Refusal;
use super::wire::parse_body;
use crate::operator::documents::{DiscardDocument, ReplayDocument};
use crate::operator::letters::{self, FilterTexts, Wish};

/// Which letters. `null` is the same as nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscardBody {
    endpoint: Option<String>,
    table: Option<String>,
    since: Option<String>,
    until: Option<String>,
    id: Option<Text>,
    reason: Option<String>,
    all: Option<bool>,
    dry_run: Option<bool>,
}

/// Which letters, and where to. Written out, because serde does not refuse unknown members of what is flattened.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    endpoint: Option<String>,
    table: Option<String>,
    since: Option<String>,
    until: Option<String>,
    id: Option<Text>,
    reason: Option<String>,
    all: Option<bool>,
    dry_run: Option<bool>,
    to: Option<String>,
}

/// Those that the query asks for.
pub(super) async fn list(desk: &Desk, query: &str) -> Result<Response, Refusal> {
    let known = ["endpoint", "table", "since", "until", "id", "reason", "limit"];
    let [endpoint, table, since, until, id, reason, limit] = parameters(query, known)?;
    let texts = FilterTexts {
        endpoint,
        table,
        since,
        until,
        id,
        reason,
    };
    fulfil(desk, async {
        let filter = letters::parse_filter(&texts, SystemTime::now())?;
        let limit = letters::parse_limit(limit.as_deref())?;
        letters::list(&desk.state.store, &filter, limit).await
    })
    .await
}

/// The one that the path names.
pub(super) async fn show(desk: &Desk, id: &str) -> Result<Response, Refusal> {
    let id = percent_decode_str(id).decode_utf8_lossy();
    fulfil(desk, letters::show(&desk.state.store, &id)).await
}

/// Puts letters back into backlogs.
pub(super) async fn replay(desk: &Desk, body: &[u8]) -> Result<Response, Refusal> {
    let ReplayBody {
        endpoint,
        table,
        since,
        until,
        id,
        reason,
        all,
        dry_run,
        to,
    } = parse_body(body)?;
    let texts = FilterTexts {
        endpoint,
        table,
        since,
        until,
        id: id.map(String::from),
        reason,
    };
    fulfil(desk, async {
        let wish = Wish::parse(
            &texts,
            all.unwrap_or_default(),
            dry_run.unwrap_or_default(),
            SystemTime::now(),
        )?;
        let mut go_on = for_a_while::<ReplayDocument>();
        let done = letters::replay(&desk.state.store, &wish, to.as_deref(), &mut go_on).await?;
        info!(desk.state.log, "an operator replayed dead letters"; "letters" => done.replayed,
            "dry_run" => done.dry_run);
        Ok(done)
    })
    .await
}

/// Deletes letters.
pub(super) async fn discard(desk: &Desk, body: &[u8]) -> Result<Response, Refusal> {
    let DiscardBody {
        endpoint,
        table,
        since,
        until,
        id,
        reason,
        all,
        dry_run,
    } = parse_body(body)?;
    let texts = FilterTexts {
        endpoint,
        table,
        since,
        until,
        id: id.map(String::from),
        reason,
    };
    fulfil(desk, async {
        let wish = Wish::parse(
            &texts,
            all.unwrap_or_default(),
            dry_run.unwrap_or_default(),
            SystemTime::now(),
        )?;
        let mut go_on = for_a_while::<DiscardDocument>();
        let done = letters::discard(&desk.state.store, &wish, &mut go_on).await?;
        info!(desk.state.log, "an operator discarded dead letters"; "letters" => done.discarded,
            "dry_run" => done.dry_run);
        Ok(done)
    })
    .await
}
