//! `pgstream endpoints list` and `show`.

use bytesize::ByteSize;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::on_store::{on_store, show, store_command};
use crate::cli::table::{pairs, table};
use crate::operator::documents::{
    EndpointDetails, EndpointList, EndpointSummary, SettingsDocument, timestamp,
};
use crate::operator::endpoints;

store_command! {
    /// list every endpoint: how it stands and does, its backlog and dead letters
    #[argh(name = "list", example = "pgstream endpoints list --json")]
    ListCommand {}
}

store_command! {
    /// show one endpoint, with its subscriptions and its last error
    #[argh(name = "show", example = "pgstream endpoints show https://example.com/hook")]
    ShowCommand {
        /// its URL
        #[argh(positional)]
        url: String,
    }
}

impl ListCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let found = on_store(context, &self.store(), async |pool| endpoints::list(&pool).await)?;
        show(context, self.json, &found, list)
    }
}

impl ShowCommand {
    pub(super) fn execute(&self, context: &Context) -> Result<(), Failure> {
        let found = on_store(context, &self.store(), async |pool| {
            endpoints::show(&pool, &self.url).await
        })?;
        show(context, self.json, &found, details)
    }
}

fn list(found: &EndpointList) -> String {
    if found.endpoints.is_empty() {
        return "there are no endpoints: nothing is subscribed".to_owned();
    }
    let rows: Vec<[String; 10]> = found.endpoints.iter().map(row).collect();
    table(
        [
            "URL", "STANDING", "HEALTH", "SINCE", "BACKLOG", "BYTES", "OLDEST", "DEAD", "SETTINGS", "REASON",
        ],
        &rows,
    )
}

fn row(endpoint: &EndpointSummary) -> [String; 10] {
    let none = || "-".to_owned();
    let health = endpoint.health.as_ref();
    [
        endpoint.url.clone(),
        endpoint.standing.to_owned(),
        health.map_or_else(none, |health| health.state.clone()),
        health.map_or_else(none, |health| timestamp(health.since)),
        endpoint.backlog.rows.to_string(),
        size(endpoint.backlog.bytes),
        endpoint.backlog.oldest.map_or_else(none, timestamp),
        endpoint.dead_letters.to_string(),
        settings(&endpoint.settings).unwrap_or_else(none),
        reason(endpoint).unwrap_or_else(none),
    ]
}

/// All that is known of an endpoint, for people.
pub(super) fn details(endpoint: &EndpointDetails) -> String {
    let EndpointDetails {
        summary,
        subscriptions,
        last_error,
    } = endpoint;
    let health = summary.health.as_ref().map(|health| {
        let reason = health
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        format!("{} since {}{reason}", health.state, timestamp(health.since))
    });
    let standing = match &summary.standing_reason {
        Some(reason) => format!("{}: {reason}", summary.standing),
        None => summary.standing.to_owned(),
    };
    let oldest = summary.backlog.oldest.map_or_else(String::new, |oldest| {
        format!(", the oldest since {}", timestamp(oldest))
    });
    let backlog = format!(
        "{} events, {}{oldest}",
        summary.backlog.rows,
        size(summary.backlog.bytes)
    );
    let error = last_error.as_ref().map(|error| match error.at {
        Some(at) => format!("{} at {}", error.message, timestamp(at)),
        None => error.message.clone(),
    });
    let mut lines = vec![
        ("url", Some(summary.url.clone())),
        ("standing", Some(standing)),
        ("health", Some(health.unwrap_or_else(|| "not known".to_owned()))),
        ("backlog", Some(backlog)),
        ("dead letters", Some(summary.dead_letters.to_string())),
        (
            "settings",
            Some(settings(&summary.settings).unwrap_or_else(|| "the defaults".to_owned())),
        ),
        ("last error", error),
    ];
    if subscriptions.is_empty() {
        lines.push(("subscription", Some("none".to_owned())));
    }
    for subscription in subscriptions {
        let any = |name: &str| {
            if name.is_empty() {
                "*".to_owned()
            } else {
                name.to_owned()
            }
        };
        let (schema, table) = (any(&subscription.schema), any(&subscription.table));
        let types = subscription.event_types.join(",");
        lines.push(("subscription", Some(format!("{schema}.{table} {types}"))));
    }
    pairs(&lines)
}

fn reason(endpoint: &EndpointSummary) -> Option<String> {
    let of_health = || endpoint.health.as_ref()?.reason.clone();
    endpoint.standing_reason.clone().or_else(of_health)
}

fn settings(settings: &SettingsDocument) -> Option<String> {
    let SettingsDocument {
        order,
        in_flight,
        timeout,
        batch_size,
        batch_wait,
        batch_bytes,
    } = settings;
    let parts: Vec<String> = [
        order.map(|order| format!("order={order}")),
        in_flight.map(|number| format!("in-flight={number}")),
        timeout.as_ref().map(|time| format!("timeout={time}")),
        batch_size.map(|number| format!("batch-size={number}")),
        batch_wait.as_ref().map(|time| format!("batch-wait={time}")),
        batch_bytes.map(|bytes| format!("batch-bytes={}", size(bytes).replace(' ', ""))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}
