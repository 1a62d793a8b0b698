//! Endpoints: looked at, paused, resumed, disabled and enabled.

use std::collections::BTreeMap;

use super::OperatorError;
use super::documents::{
    BacklogDocument, EndpointDetails, EndpointList, EndpointSummary, ErrorDocument, HealthDocument,
    SettingsDocument, SubscriptionDocument,
};
use crate::config::suggest::nearest;
use crate::endpoint::model::{EndpointOverrides, Standing};
use crate::store::backlog::{self, Totals};
use crate::store::endpoints::{self, WrittenHealth};
use crate::store::letters::{self, LetterFilter};
use crate::store::{PgPool, known, subscriptions};

/// The longest reason that is kept, in bytes.
const MAX_REASON: usize = 1_000;

/// What an operator does to an endpoint's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sends nothing for the time being; the events are kept.
    Pause,
    /// Ends a pause.
    Resume,
    /// Sends nothing any more; the events are kept.
    Disable,
    /// Ends that, whether an operator disabled the endpoint or its receiver did with a 410.
    Enable,
}

impl Step {
    /// Where it leads from `standing`, or why it cannot be taken. Taking it twice is harmless.
    ///
    /// # Errors
    /// What to do instead, as it reads after the endpoint's URL.
    pub fn from(self, standing: Standing) -> Result<Standing, &'static str> {
        match (self, standing) {
            (Self::Pause, Standing::Active | Standing::Paused) => Ok(Standing::Paused),
            (Self::Pause, Standing::Disabled) => {
                Err("is disabled, so nothing is sent there: enable it before it is paused")
            }
            (Self::Resume, Standing::Active | Standing::Paused) => Ok(Standing::Active),
            (Self::Resume, Standing::Disabled) => Err("is disabled, not paused: enable it instead"),
            (Self::Disable, _) => Ok(Standing::Disabled),
            (Self::Enable, Standing::Active | Standing::Disabled) => Ok(Standing::Active),
            (Self::Enable, Standing::Paused) => Err("is paused, not disabled: resume it instead"),
        }
    }
}

/// Every endpoint that subscriptions, settings, backlogs or dead letters name.
///
/// # Errors
/// [`OperatorError::NotInitialised`], [`OperatorError::Store`]
pub async fn list(pool: &PgPool) -> Result<EndpointList, OperatorError> {
    let mut facts = Facts::of_all(pool).await?;
    let urls = known::endpoints(pool).await?;
    let summaries = urls.into_iter().map(|url| facts.take(url));
    Ok(EndpointList {
        endpoints: summaries.collect(),
    })
}

/// One endpoint.
///
/// # Errors
/// [`OperatorError::UnknownEndpoint`] when nothing names it.
pub async fn show(pool: &PgPool, url: &str) -> Result<EndpointDetails, OperatorError> {
    check_known(pool, "url", url).await?;
    details(pool, url).await
}

/// What there is to say of an endpoint, whether anything names it or not.
pub(super) async fn details(pool: &PgPool, url: &str) -> Result<EndpointDetails, OperatorError> {
    let subscriptions = subscriptions::list(pool).await?.into_iter();
    let subscriptions = subscriptions.filter(|subscription| subscription.url == url);
    let subscriptions = subscriptions.map(|subscription| SubscriptionDocument {
        event_types: subscription.event_types.letters(),
        schema: subscription.schema,
        table: subscription.table,
    });
    let last_error = known::last_error(pool, url).await?;
    Ok(EndpointDetails {
        subscriptions: subscriptions.collect(),
        last_error: last_error.map(|error| ErrorDocument {
            message: error.text,
            at: error.at,
        }),
        summary: Facts::of_one(pool, url).await?.take(url.to_owned()),
    })
}

/// Pauses, resumes, disables or enables an endpoint, and returns what is known of it then.
///
/// # Errors
/// [`OperatorError::UnknownEndpoint`]; [`OperatorError::Standing`] when the endpoint stands so that this makes no sense.
pub async fn change_standing(
    pool: &PgPool,
    url: &str,
    step: Step,
    reason: Option<&str>,
) -> Result<EndpointDetails, OperatorError> {
    if reason.is_some_and(|reason| reason.len() > MAX_REASON || reason.contains('\0')) {
        let message = format!("the reason is longer than {MAX_REASON} bytes, or has a zero character");
        return Err(OperatorError::invalid("reason", message));
    }
    check_known(pool, "url", url).await?;
    let standing = endpoints::get(pool, url).await?.map(|set| set.standing);
    let standing = standing.unwrap_or_default();
    let next = step
        .from(standing)
        .map_err(|instead| OperatorError::Standing(format!("{url} {instead}")))?;
    // Said again, it keeps the reason that it had, unless there is a new one.
    if next != standing || reason.is_some() {
        endpoints::set_standing(pool, url, next, reason).await?;
    }
    details(pool, url).await
}

/// Refuses a URL that nothing names.
///
/// # Errors
/// [`OperatorError::UnknownEndpoint`], [`OperatorError::Store`]
pub async fn check_known(pool: &PgPool, field: &'static str, url: &str) -> Result<(), OperatorError> {
    // A zero character is in no text of PostgreSQL's, and so in no URL that it knows.
    if !url.contains('\0') && known::has_endpoint(pool, url).await? {
        return Ok(());
    }
    let all = known::endpoints(pool).await?;
    let nearest = nearest(url, all.iter().map(String::as_str)).map(str::to_owned);
    Err(OperatorError::UnknownEndpoint {
        field,
        url: url.to_owned(),
        nearest,
    })
}

/// What the tables say, by URL.
struct Facts {
    settings: BTreeMap<String, EndpointOverrides>,
    health: BTreeMap<String, WrittenHealth>,
    backlogs: BTreeMap<String, Totals>,
    letters: BTreeMap<String, u64>,
}

impl Facts {
    async fn of_all(pool: &PgPool) -> Result<Self, OperatorError> {
        let letters = letters::count(pool, &LetterFilter::default()).await?;
        Ok(Self {
            settings: by_url(endpoints::list(pool).await?, |set| &set.url),
            health: by_url(endpoints::health(pool, None).await?, |health| &health.url),
            backlogs: by_url(backlog::totals(pool).await?, |totals| &totals.endpoint),
            letters: numbers(letters),
        })
    }

    async fn of_one(pool: &PgPool, url: &str) -> Result<Self, OperatorError> {
        let filter = LetterFilter {
            endpoint: Some(url.to_owned()),
            ..LetterFilter::default()
        };
        Ok(Self {
            settings: by_url(endpoints::get(pool, url).await?, |set| &set.url),
            health: by_url(endpoints::health(pool, Some(url)).await?, |health| &health.url),
            backlogs: by_url([backlog::totals_of(pool, url).await?], |totals| &totals.endpoint),
            letters: numbers(letters::count(pool, &filter).await?),
        })
    }

    fn take(&mut self, url: String) -> EndpointSummary {
        let set = self.settings.remove(&url);
        let health = self.health.remove(&url).map(|health| HealthDocument {
            state: health.health,
            since: health.since,
            reason: health.reason,
        });
        let backlog = self.backlogs.remove(&url).map(|totals| BacklogDocument {
            rows: totals.rows,
            bytes: totals.bytes,
            oldest: totals.oldest,
        });
        EndpointSummary {
            standing: set.as_ref().map_or(Standing::Active, |set| set.standing).as_str(),
            settings: set.as_ref().map(SettingsDocument::from).unwrap_or_default(),
            standing_reason: set.and_then(|set| set.reason),
            health,
            backlog: backlog.unwrap_or_default(),
            dead_letters: self.letters.remove(&url).unwrap_or_default(),
            url,
        }
    }
}

fn by_url<T>(rows: impl IntoIterator<Item = T>, url: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
    let pair = |row: T| (url(&row).clone(), row);
    rows.into_iter().map(pair).collect()
}

fn numbers(counts: Vec<letters::LetterCount>) -> BTreeMap<String, u64> {
    let pair = |count: letters::LetterCount| Some((count.endpoint?, count.letters));
    counts.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_from_every_standing() {
        use Standing::{Active, Disabled, Paused};
        for (step, from, to) in [
            (Step::Pause, Active, Some(Paused)),
            (Step::Pause, Paused, Some(Paused)),
            (Step::Pause, Disabled, None),
            (Step::Resume, Active, Some(Active)),
            (Step::Resume, Paused, Some(Active)),
            (Step::Resume, Disabled, None),
            (Step::Disable, Active, Some(Disabled)),
            (Step::Disable, Paused, Some(Disabled)),
            (Step::Disable, Disabled, Some(Disabled)),
            (Step::Enable, Active, Some(Active)),
            (Step::Enable, Paused, None),
            (Step::Enable, Disabled, Some(Active)),
        ] {
            assert_eq!(step.from(from).ok(), to, "{step:?} from {from:?}");
        }
    }
}
