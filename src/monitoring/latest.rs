//! The latest answer to a question that may take long, or for ever.
//!
//! Whoever asks waits for a bounded time only, and is given what is known then. Nothing is asked unless somebody wants to
//! know: an idle database stays idle.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::store::StoreError;

/// How long one answer may take before it is given up, and asked for again when somebody wants to know.
const DEADLINE: Duration = Duration::from_secs(10);

/// Asks in a task of its own.
#[derive(Debug)]
pub(super) struct Latest<T> {
    wanted: Arc<Notify>,
    answers: watch::Receiver<Answers<T>>,
    task: AbortHandle,
}

/// What has been answered so far.
#[derive(Debug)]
struct Answers<T> {
    /// How often it was asked.
    attempts: u64,
    /// When the last attempt has ended, and whether with an answer.
    ended: Option<(Instant, bool)>,
    value: Option<(Instant, Arc<T>)>,
}

/// What is known at one time.
#[derive(Debug)]
pub(super) struct Known<T> {
    /// Whether it was answered just now.
    pub(super) is_fresh: bool,
    /// The last answer, and when it came.
    pub(super) value: Option<(Instant, Arc<T>)>,
}

impl<T: Send + Sync + 'static> Latest<T> {
    /// Has `ask` be asked whenever somebody wants to know. `ended` hears how each attempt has ended.
    pub(super) fn start<F>(
        ask: impl Fn() -> F + Send + 'static,
        ended: impl Fn(Result<(), &StoreError>) + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (sender, answers) = watch::channel(Answers {
            attempts: 0,
            ended: None,
            value: None,
        });
        let wanted = Arc::new(Notify::new());
        let notified = Arc::clone(&wanted);
        let task = tokio::spawn(async move {
            loop {
                notified.notified().await;
                let slow = StoreError::Slow {
                    seconds: DEADLINE.as_secs(),
                };
                let answer = timeout(DEADLINE, ask()).await.unwrap_or(Err(slow));
                ended(answer.as_ref().map(|_| ()));
                let now = Instant::now();
                sender.send_modify(|answers| {
                    answers.attempts += 1;
                    answers.ended = Some((now, answer.is_ok()));
                    if let Ok(value) = answer {
                        answers.value = Some((now, Arc::new(value)));
                    }
                });
            }
        });
        Self {
            wanted,
            answers,
            task: task.abort_handle(),
        }
    }

    /// What is known, asking anew if the last attempt is longer ago than `max_age`, and waiting for it for `patience` at most.
    pub(super) async fn get(&self, max_age: Duration, patience: Duration) -> Known<T> {
        let mut answers = self.answers.clone();
        let (attempts, is_recent) = {
            let answers = answers.borrow();
            let is_recent = answers.ended.is_some_and(|(at, _)| at.elapsed() <= max_age);
            (answers.attempts, is_recent)
        };
        let mut has_ended = is_recent;
        if !is_recent {
            self.wanted.notify_one();
            let newer = answers.wait_for(|answers| answers.attempts > attempts);
            has_ended = timeout(patience, newer).await.is_ok_and(|newer| newer.is_ok());
        }
        let answers = answers.borrow();
        Known {
            is_fresh: has_ended && answers.ended.is_some_and(|(_, answered)| answered),
            value: answers.value.clone(),
        }
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Answers with the number of times it was asked, but to the second question only after `gate`.
    fn counting(gate: &Arc<Notify>) -> (Latest<u64>, Arc<AtomicU64>) {
        let asked = Arc::new(AtomicU64::new(0));
        let (gate, counter) = (Arc::clone(gate), Arc::clone(&asked));
        let ask = move || {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let gate = Arc::clone(&gate);
            async move {
                if number == 2 {
                    gate.notified().await;
                }
                Ok(number)
            }
        };
        (Latest::start(ask, |_| {}), asked)
    }

    #[tokio::test]
    async fn nothing_is_asked_twice_within_the_age() {
        let gate = Arc::new(Notify::new());
        let (latest, asked) = counting(&gate);
        let minute = Duration::from_secs(60);
        for _ in 0..3 {
            let known = latest.get(minute, minute).await;
            assert_eq!(
                (known.is_fresh, known.value.map(|(_, value)| *value)),
                (true, Some(1))
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn who_asks_what_hangs_is_given_the_last_answer_in_time() {
        let gate = Arc::new(Notify::new());
        let (latest, asked) = counting(&gate);
        let minute = Duration::from_secs(60);
        latest.get(Duration::ZERO, minute).await;
        for _ in 0..2 {
            let known = latest.get(Duration::ZERO, Duration::from_millis(20)).await;
            assert_eq!(
                (known.is_fresh, known.value.map(|(_, value)| *value)),
                (false, Some(1))
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the same question is under way");
        gate.notify_one();
        let known = latest.get(Duration::ZERO, minute).await;
        assert!(known.is_fresh && known.value.is_some_and(|(_, value)| *value >= 2));
    }
}
