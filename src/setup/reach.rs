//! Both databases, looked at side by side: one that does not answer takes no time from the other.

use tokio::time::{Instant, timeout_at};

use super::findings::{STATEMENT_LIMIT, by};
use super::status::document::Reach;
use crate::config::{PgUrl, Targets};
use crate::store::{PgPool, connect};

/// Whether a database was reached, and what was found there then.
pub(super) type Reached<T> = (Reach, Option<T>);

/// Connects to both, once where they are one, and looks at each as soon as it is reached.
pub(super) async fn side_by_side<S, T>(
    targets: &Targets,
    deadline: Instant,
    look_at_source: impl AsyncFnOnce(&PgPool) -> S,
    look_at_store: impl AsyncFnOnce(&PgPool) -> T,
) -> (Reached<S>, Reached<T>) {
    let connect = async |url: &PgUrl| by(deadline, connect::connect_to_look(url, STATEMENT_LIMIT)).await;
    if targets.source == targets.store {
        let pool = connect(&targets.source).await;
        let reach = Reach::new(&targets.source, &pool);
        let Ok(pool) = pool else {
            return ((reach.clone(), None), (reach, None));
        };
        let (source, store) = tokio::join!(look_at_source(&pool), look_at_store(&pool));
        leave(&pool, deadline).await;
        return ((reach.clone(), Some(source)), (reach, Some(store)));
    }
    tokio::join!(
        async {
            let pool = connect(&targets.source).await;
            look_at(&targets.source, pool, deadline, look_at_source).await
        },
        async {
            let pool = connect(&targets.store).await;
            look_at(&targets.store, pool, deadline, look_at_store).await
        }
    )
}

async fn look_at<T>(
    url: &PgUrl,
    pool: Result<PgPool, String>,
    deadline: Instant,
    look: impl AsyncFnOnce(&PgPool) -> T,
) -> Reached<T> {
    let reach = Reach::new(url, &pool);
    let Ok(pool) = pool else {
        return (reach, None);
    };
    let found = look(&pool).await;
    leave(&pool, deadline).await;
    (reach, Some(found))
}

/// Takes leave, as far as there is time: a server notes who does not. What is left is closed with the program.
async fn leave(pool: &PgPool, deadline: Instant) {
    let _ = timeout_at(deadline, pool.close()).await;
}
