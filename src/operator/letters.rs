//! Dead letters: looked at, replayed and discarded.

use std::ops::ControlFlow;
use std::time::SystemTime;

use super::OperatorError;
use super::documents::{DiscardDocument, LetterDetails, LetterDocument, LetterList, ReplayDocument};
use super::endpoints::check_known;
use crate::store::PgPool;
use crate::store::letters::{self, LetterFilter, LetterId};
use crate::subscription::model::validate_url;

/// The letters of one step, which is one transaction.
const STEP: u32 = 500;
/// The letters of a list where nothing else is asked for, and the most that can be.
pub const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 1_000;

/// A filter as it was written.
#[derive(Debug, Clone, Default)]
pub struct FilterTexts {
    /// A URL.
    pub endpoint: Option<String>,
    /// `name` or `schema.name`.
    pub table: Option<String>,
    /// A time, or how long ago.
    pub since: Option<String>,
    /// A time, or how long ago.
    pub until: Option<String>,
    /// A letter's number, or a `webhook-id`.
    pub id: Option<String>,
    /// Such as `retries`.
    pub reason: Option<String>,
}

/// Which letters something is done to, and how.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The filter.
    pub filter: LetterFilter,
    /// Whether all letters are meant, where the filter is empty.
    pub all: bool,
    /// Whether they are only counted.
    pub dry_run: bool,
}

impl Wish {
    /// Reads a wish; `now` is what durations count back from.
    ///
    /// # Errors
    /// [`OperatorError::Invalid`] for the first part that is wrong.
    pub fn parse(
        texts: &FilterTexts,
        all: bool,
        dry_run: bool,
        now: SystemTime,
    ) -> Result<Self, OperatorError> {
        let filter = parse_filter(texts, now)?;
        Ok(Self { filter, all, dry_run })
    }
}

/// Reads a filter; `now` is what durations count back from.
///
/// # Errors
/// [`OperatorError::Invalid`] for the first part that is wrong.
pub fn parse_filter(texts: &FilterTexts, now: SystemTime) -> Result<LetterFilter, OperatorError> {
    let FilterTexts {
        endpoint,
        table,
        since,
        until,
        id,
        reason,
    } = texts;
    for (field, text) in [
        ("endpoint", endpoint),
        ("table", table),
        ("id", id),
        ("reason", reason),
    ] {
        match text.as_deref() {
            Some("") => {
                return Err(OperatorError::invalid(field, "is empty: leave it out"));
            }
            Some(text) if text.contains('\0') => {
                return Err(OperatorError::invalid(field, "has a zero character"));
            }
            _ => {}
        }
    }
    let (schema, table) = match table.as_deref().map(|name| (name, name.split_once('.'))) {
        None => (None, None),
        Some((name, None)) => (None, Some(name.to_owned())),
        Some((_, Some((schema, name)))) if !schema.is_empty() && !name.is_empty() => {
            (Some(schema.to_owned()), Some(name.to_owned()))
        }
        Some((name, _)) => {
            let message = format!("{name:?} is not a table: write for example orders or public.orders");
            return Err(OperatorError::invalid("table", message));
        }
    };
    let filter = LetterFilter {
        endpoint: endpoint.clone(),
        schema,
        table,
        since: since
            .as_deref()
            .map(|text| moment("since", text, now))
            .transpose()?,
        until: until
            .as_deref()
            .map(|text| moment("until", text, now))
            .transpose()?,
        id: id.as_deref().map(letter_id),
        reason: reason.clone(),
    };
    match (filter.since, filter.until) {
        (Some(since), Some(until)) if since >= until => Err(OperatorError::invalid(
            "until",
            "is not later than `since`: nothing lies between them",
        )),
        _ => Ok(filter),
    }
}

/// A time: RFC 3339, or a duration that it lies in the past.
fn moment(field: &'static str, text: &str, now: SystemTime) -> Result<SystemTime, OperatorError> {
    let text = text.trim();
    let text = text.strip_suffix(" ago").unwrap_or(text);
    let wrong = || {
        OperatorError::invalid(
            field,
            format!("{text:?} is not a time: write for example 2h, 3days or 2026-01-31T12:00:00Z"),
        )
    };
    let time = match humantime::parse_duration(text) {
        Ok(ago) => now.checked_sub(ago).ok_or_else(wrong)?,
        Err(_) => humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?,
    };
    Ok(time)
}

fn letter_id(text: &str) -> LetterId {
    text.parse()
        .map_or_else(|_| LetterId::Webhook(text.to_owned()), LetterId::Number)
}

/// How many letters a list may have.
///
/// # Errors
/// [`OperatorError::Invalid`]
pub fn parse_limit(text: Option<&str>) -> Result<u32, OperatorError> {
    match text.map(str::parse) {
        None => Ok(DEFAULT_LIMIT),
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Some(_) => Err(OperatorError::invalid(
            "limit",
            format!("is not a whole number from 1 to {MAX_LIMIT}"),
        )),
    }
}

/// The youngest letters that fulfil the filter.
///
/// # Errors
/// [`OperatorError::UnknownEndpoint`] for a filter by an endpoint that nothing knows, here and below.
pub async fn list(pool: &PgPool, filter: &LetterFilter, limit: u32) -> Result<LetterList, OperatorError> {
    // One more than is shown, to know whether there are more.
    let mut found = letters::list(pool, filter, limit.saturating_add(1)).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    check_endpoint(pool, filter, found.is_empty()).await?;
    found.truncate(shown);
    Ok(LetterList {
        dead_letters: found.into_iter().map(LetterDocument::from).collect(),
        more,
    })
}

/// One letter, by its number or its `webhook-id`.
///
/// # Errors
/// [`OperatorError::UnknownLetter`]; [`OperatorError::AmbiguousLetter`] for a `webhook-id` of several.
pub async fn show(pool: &PgPool, id: &str) -> Result<LetterDetails, OperatorError> {
    let unknown = || OperatorError::UnknownLetter(format!("{id:?}"));
    if id.is_empty() || id.contains('\0') {
        return Err(unknown());
    }
    let filter = LetterFilter {
        id: Some(letter_id(id)),
        ..LetterFilter::default()
    };
    let mut found = letters::list(pool, &filter, MAX_LIMIT).await?;
    if found.len() > 1 {
        let mut numbers: Vec<i64> = found.iter().map(|letter| letter.id).collect();
        numbers.sort_unstable();
        return Err(OperatorError::AmbiguousLetter {
            webhook_id: id.to_owned(),
            numbers,
        });
    }
    let letter = found.pop().ok_or_else(unknown)?;
    let payload = letters::payload(pool, letter.id).await?.ok_or_else(unknown)?;
    Ok(LetterDetails::new(letter.into(), &payload))
}

/// Puts letters back into the backlogs of their endpoints, or all into that of `to`. They keep their `webhook-id`.
///
/// After each step `go_on` hears what has been done. Whatever ends it before the end, what is not replayed stays a dead
/// letter, and doing it again goes on. Letters that come while it goes on are not replayed.
///
/// # Errors
/// [`OperatorError::Invalid`] for a filter that says nothing without `all`, and for `to`.
pub async fn replay(
    pool: &PgPool,
    wish: &Wish,
    to: Option<&str>,
    go_on: &mut (dyn FnMut(&ReplayDocument) -> ControlFlow<()> + Send),
) -> Result<ReplayDocument, OperatorError> {
    check(wish)?;
    if let Some(to) = to {
        validate_url(to).map_err(|error| OperatorError::invalid("to", format!("the new {error}")))?;
    }
    let counts = letters::count(pool, &wish.filter).await?;
    check_endpoint(pool, &wish.filter, counts.is_empty()).await?;
    let sum = |with: bool| {
        let of_kind = counts.iter().filter(|count| count.endpoint.is_some() == with);
        of_kind.map(|count| count.letters).sum()
    };
    let mut done = ReplayDocument {
        dry_run: wish.dry_run,
        matching: sum(true),
        not_replayable: sum(false),
        replayed: 0,
        duplicates: 0,
        replay_run: None,
        complete: true,
    };
    if wish.dry_run || done.matching == 0 {
        return Ok(done);
    }
    done.complete = false;
    let run = letters::replay_run(pool).await?;
    done.replay_run = Some(run);
    for count in &counts {
        let Some(endpoint) = &count.endpoint else {
            continue;
        };
        let way = (endpoint.as_str(), to.unwrap_or(endpoint));
        loop {
            let step = letters::replay(pool, &wish.filter, way, run, count.last, STEP).await?;
            done.replayed += step.put;
            done.duplicates += step.taken - step.put;
            if go_on(&done).is_break() {
                return Ok(done);
            }
            if !step.more {
                break;
            }
        }
    }
    done.complete = true;
    Ok(done)
}

/// Deletes letters. After each step `go_on` hears what has been done; doing it again goes on.
///
/// # Errors
/// [`OperatorError::Invalid`] for a filter that says nothing without `all`.
pub async fn discard(
    pool: &PgPool,
    wish: &Wish,
    go_on: &mut (dyn FnMut(&DiscardDocument) -> ControlFlow<()> + Send),
) -> Result<DiscardDocument, OperatorError> {
    check(wish)?;
    let counts = letters::count(pool, &wish.filter).await?;
    check_endpoint(pool, &wish.filter, counts.is_empty()).await?;
    let last = counts.iter().map(|count| count.last).max();
    let mut done = DiscardDocument {
        dry_run: wish.dry_run,
        matching: counts.iter().map(|count| count.letters).sum(),
        discarded: 0,
        complete: true,
    };
    let (false, Some(last)) = (wish.dry_run, last) else {
        return Ok(done);
    };
    loop {
        let gone = letters::discard(pool, &wish.filter, last, STEP).await?;
        done.discarded += gone;
        done.complete = gone == 0;
        if done.complete || go_on(&done).is_break() {
            return Ok(done);
        }
    }
}

/// Refuses a filter by an endpoint that nothing knows: where nothing was found, its URL was probably miswritten.
async fn check_endpoint(pool: &PgPool, filter: &LetterFilter, nothing: bool) -> Result<(), OperatorError> {
    match &filter.endpoint {
        Some(url) if nothing => check_known(pool, "endpoint", url).await,
        _ => Ok(()),
    }
}

/// Refuses what would concern every letter by oversight.
fn check(wish: &Wish) -> Result<(), OperatorError> {
    let is_empty = wish.filter == LetterFilter::default();
    match (is_empty, wish.all) {
        (true, false) => Err(OperatorError::invalid(
            "all",
            "nothing says which dead letters are meant: give a filter, or `all` for every one",
        )),
        (false, true) => Err(OperatorError::invalid(
            "all",
            "`all` and a filter contradict each other: give one of the two",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn texts() -> FilterTexts {
        FilterTexts::default()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn filters_are_read() {
        let now = humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(parse_filter(&texts(), now).unwrap(), LetterFilter::default());
        let filter = parse_filter(
            &FilterTexts {
                endpoint: some("http://h"),
                table: some("public.a.b"),
                since: some("2h ago"),
                until: some("2026-01-02T03:00:00Z"),
                id: some("12"),
                reason: some("retries"),
            },
            now,
        );
        assert_eq!(
            filter.unwrap(),
            LetterFilter {
                endpoint: some("http://h"),
                schema: some("public"),
                table: some("a.b"),
                since: Some(now - Duration::from_secs(7_200)),
                until: Some(now - Duration::from_secs(245)),
                id: Some(LetterId::Number(12)),
                reason: some("retries"),
            }
        );
        for (text, ago) in [("3days", 259_200), ("1h30m", 5_400), ("0s", 0)] {
            let since = some(text);
            let filter = parse_filter(&FilterTexts { since, ..texts() }, now).unwrap();
            assert_eq!(filter.since, Some(now - Duration::from_secs(ago)), "{text}");
        }
        let filter = parse_filter(
            &FilterTexts {
                table: some("orders"),
                id: some("7-0-c"),
                ..texts()
            },
            now,
        )
        .unwrap();
        assert_eq!((filter.schema, filter.table), (None, some("orders")));
        assert_eq!(filter.id, Some(LetterId::Webhook("7-0-c".to_owned())));
    }

    #[test]
    fn wrong_filters_are_named() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (field, texts, words) in [
            (
                "endpoint",
                FilterTexts {
                    endpoint: some(""),
                    ..texts()
                },
                "leave it out",
            ),
            (
                "reason",
                FilterTexts {
                    reason: some("a\0"),
                    ..texts()
                },
                "zero",
            ),
            (
                "table",
                FilterTexts {
                    table: some(".a"),
                    ..texts()
                },
                "public.orders",
            ),
            (
                "table",
                FilterTexts {
                    table: some("a."),
                    ..texts()
                },
                "public.orders",
            ),
            (
                "since",
                FilterTexts {
                    since: some("soon"),
                    ..texts()
                },
                "2h",
            ),
            (
                "since",
                FilterTexts {
                    since: some(""),
                    ..texts()
                },
                "2h",
            ),
            (
                "until",
                FilterTexts {
                    until: some("-2h"),
                    ..texts()
                },
                "2h",
            ),
            (
                "until",
                FilterTexts {
                    since: some("1h"),
                    until: some("2h"),
                    ..texts()
                },
                "not later",
            ),
        ] {
            match parse_filter(&texts, now) {
                Err(OperatorError::Invalid {
                    field: named,
                    message,
                }) => {
                    assert_eq!(named, field, "{texts:?}");
                    assert!(message.contains(words), "{texts:?}: {message}");
                }
                other => panic!("{texts:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn limits() {
        for (text, expected) in [
            (None, Some(50)),
            (Some("1"), Some(1)),
            (Some("1000"), Some(1000)),
            (Some("0"), None),
            (Some("1001"), None),
            (Some("x"), None),
        ] {
            assert_eq!(parse_limit(text).ok(), expected, "{text:?}");
        }
    }
}
