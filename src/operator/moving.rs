//! The backlog of one endpoint goes to another.

use std::ops::ControlFlow;

use super::OperatorError;
use super::documents::MoveDocument;
use super::endpoints::check_known;
use crate::store::{PgPool, relocation};
use crate::subscription::model::validate_url;

/// The rows of one step, which is one transaction.
const STEP: u32 = 500;

/// Moves what the backlog of `from` holds now behind that of `to`, which need not be known yet. The order stays; what
/// `to` has already is not put there again. What is appended to `from` meanwhile stays there, and what of it is in
/// flight may reach both: pause it first where that matters.
///
/// After each step `go_on` hears what has been done. Whatever ends it before the end, every event is in one of the two
/// backlogs, and doing it again goes on.
///
/// # Errors
/// [`OperatorError::UnknownEndpoint`] for `from`; [`OperatorError::Invalid`] for `to`.
pub async fn move_backlog(
    pool: &PgPool,
    from: &str,
    to: &str,
    go_on: &mut (dyn FnMut(&MoveDocument) -> ControlFlow<()> + Send),
) -> Result<MoveDocument, OperatorError> {
    validate_url(to).map_err(|error| OperatorError::invalid("to", format!("the new {error}")))?;
    if from == to {
        return Err(OperatorError::invalid(
            "to",
            "the new url is the same as the old one: name another endpoint",
        ));
    }
    check_known(pool, "from", from).await?;
    let extent = relocation::extent(pool, from).await?;
    let mut done = MoveDocument {
        from: from.to_owned(),
        to: to.to_owned(),
        moved: 0,
        already_there: 0,
        complete: extent.rows == 0,
    };
    while !done.complete {
        let step = relocation::step(pool, from, to, extent.last, STEP).await?;
        done.moved += step.put;
        done.already_there += step.taken - step.put;
        done.complete = !step.more;
        if go_on(&done).is_break() {
            break;
        }
    }
    Ok(done)
}
