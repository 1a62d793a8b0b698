//! Which request of an operator goes where, and how long it may take.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::handlers::shown;
use super::refusal::Refusal;
use super::routes::{Posted, answer, got, posted};
use super::{State, backfill, dead_letters, endpoints};
use crate::http_server::Limits;
use crate::operator::OperatorError;
use crate::store::StoreError;

/// The longest that a request waits for the store: counting a long backlog takes a while.
const LIMIT: Duration = Duration::from_secs(60);
/// What goes over many rows ends after so long with what it has done.
const RUN: Duration = Duration::from_secs(20);

/// Where an operator's requests are dealt with: one at a time, because counting rows takes a connection of the pool for as
/// long as it lasts, and the deliveries need the others.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) state: State,
    turn: Arc<Semaphore>,
}

/// Everything below `/webhooks/endpoints`, `/webhooks/deadletters` and `/webhooks/backfill`.
pub(super) fn routes(state: State, limits: Limits) -> BoxedFilter<(Response,)> {
    let desk = Desk {
        state,
        turn: Arc::new(Semaphore::new(1)),
    };
    let desk = warp::any().map(move || desk.clone()).boxed();
    let look = warp::path!("webhooks" / "endpoints")
        .and(got())
        .and(query())
        .and(desk.clone())
        .then(async |got: Result<(), Refusal>, query: String, desk: Desk| {
            answer(async {
                got?;
                endpoints::look(&desk, &query).await
            })
            .await
        });
    let act = warp::path!("webhooks" / "endpoints" / Act)
        .and(posted(limits))
        .and(desk.clone())
        .then(async |act: Act, posted: Posted, desk: Desk| {
            answer(async { endpoints::act(&desk, act, &posted?).await }).await
        });
    look.or(act)
        .unify()
        .or(letters(&desk, limits))
        .unify()
        .or(backfills(&desk, limits))
        .unify()
        .boxed()
}

fn backfills(desk: &BoxedFilter<(Desk,)>, limits: Limits) -> BoxedFilter<(Response,)> {
    let ask = warp::path!("webhooks" / "backfill")
        .and(warp::post())
        .and(posted(limits))
        .and(desk.clone())
        .then(async |posted: Posted, desk: Desk| {
            answer(async { backfill::ask(&desk, &posted?).await }).await
        });
    let list = warp::path!("webhooks" / "backfill")
        .and(got())
        .and(desk.clone())
        .then(async |got: Result<(), Refusal>, desk: Desk| {
            answer(async {
                got.map_err(|_| Refusal::method_not_allowed("GET, HEAD, POST"))?;
                backfill::list(&desk).await
            })
            .await
        });
    let cancel = warp::path!("webhooks" / "backfill" / "cancel")
        .and(posted(limits))
        .and(desk.clone())
        .then(async |posted: Posted, desk: Desk| {
            answer(async { backfill::cancel(&desk, &posted?).await }).await
        });
    ask.or(list).unify().or(cancel).unify().boxed()
}

fn letters(desk: &BoxedFilter<(Desk,)>, limits: Limits) -> BoxedFilter<(Response,)> {
    let list = warp::path!("webhooks" / "deadletters")
        .and(got())
        .and(query())
        .and(desk.clone())
        .then(async |got: Result<(), Refusal>, query: String, desk: Desk| {
            answer(async {
                got?;
                dead_letters::list(&desk, &query).await
            })
            .await
        });
    let replay = warp::path!("webhooks" / "deadletters" / "replay")
        .and(posted(limits))
        .and(desk.clone())
        .then(async |posted: Posted, desk: Desk| {
            answer(async { dead_letters::replay(&desk, &posted?).await }).await
        });
    let discard = warp::path!("webhooks" / "deadletters" / "discard")
        .and(posted(limits))
        .and(desk.clone())
        .then(async |posted: Posted, desk: Desk| {
            answer(async { dead_letters::discard(&desk, &posted?).await }).await
        });
    let show = warp::path!("webhooks" / "deadletters" / String)
        .and(got())
        .and(desk.clone())
        .then(async |id: String, got: Result<(), Refusal>, desk: Desk| {
            answer(async {
                got?;
                dead_letters::show(&desk, &id).await
            })
            .await
        });
    list.or(replay)
        .unify()
        .or(discard)
        .unify()
        .or(show)
        .unify()
        .boxed()
}

/// What can be done to an endpoint: the last word of its path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Pause,
    Resume,
    Disable,
    Enable,
    Set,
    Move,
}

impl std::str::FromStr for Act {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "pause" => Ok(Self::Pause),
            "resume" => Ok(Self::Resume),
            "disable" => Ok(Self::Disable),
            "enable" => Ok(Self::Enable),
            "set" => Ok(Self::Set),
            "move" => Ok(Self::Move),
            _ => Err(()),
        }
    }
}

fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    let none = warp::any().map(String::new);
    warp::query::raw().or(none).unify()
}

/// Does an operator's work, and answers with the document it comes to.
pub(super) async fn fulfil<D: serde::Serialize>(
    desk: &Desk,
    work: impl Future<Output = Result<D, OperatorError>>,
) -> Result<Response, Refusal> {
    let Desk { state, turn } = desk;
    let in_turn = async {
        // Never closed; if it were, the requests would only not wait for each other.
        let _turn = turn.acquire().await;
        work.await
    };
    match timeout(LIMIT, in_turn).await {
        Ok(Ok(document)) => Ok(shown(StatusCode::OK, &document)),
        Ok(Err(error)) => Err(refusal(state, error)),
        Err(_) => {
            let seconds = LIMIT.as_secs();
            state.failed(
                "an operator's request failed at the store",
                &StoreError::Slow { seconds },
            );
            Err(unavailable())
        }
    }
}

pub(super) fn refusal(state: &State, error: OperatorError) -> Refusal {
    let text = error.to_string();
    match error {
        OperatorError::Invalid {
            field: "settings", ..
        } => Refusal::invalid_body(text),
        OperatorError::Invalid { field, message } => Refusal::invalid_field(field, message),
        OperatorError::UnknownEndpoint { field, .. } => Refusal::unknown("unknown_endpoint", field, text),
        OperatorError::UnknownBackfill(_) => Refusal::unknown("unknown_backfill", "id", text),
        OperatorError::UnknownLetter(_) => Refusal::unknown("unknown_dead_letter", "id", text),
        OperatorError::AmbiguousLetter { .. } => Refusal::conflict("ambiguous_dead_letter", text),
        OperatorError::Standing(_) => Refusal::conflict("standing", text),
        OperatorError::NotInitialised(_) | OperatorError::Store(_) => {
            state.failed("an operator's request failed at the store", &error);
            unavailable()
        }
    }
}

pub(super) fn unavailable() -> Refusal {
    Refusal::store_unavailable("the store does not answer as it should: try again later")
}

/// Lets what goes over many rows go on for a while.
pub(super) fn for_a_while<D>() -> impl FnMut(&D) -> ControlFlow<()> + Send {
    let begin = Instant::now();
    move |_| {
        if begin.elapsed() < RUN {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}
