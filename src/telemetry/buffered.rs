//! Who waits for a log line: nobody for the unimportant ones, and nobody loses the important ones.
//!
//! Lines pass through a bounded queue to a thread of their own, so that a slow terminal does not slow down the
//! stream. When the queue is full, lines of info and below are dropped and counted, and the count is reported as
//! soon as there is room; a warning or worse is written by the thread that logs it.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use slog::{Drain, Level, Never, OwnedKVList, Record, b, o, record};
use slog_async::{AsyncCore, AsyncError, AsyncGuard};

/// How many lines may wait to be written.
const QUEUE_LINES: usize = 8192;

/// Writes a line at once; errors, such as a closed stderr, have been dealt with.
pub(super) type LineDrain = Box<dyn Drain<Ok = (), Err = Never> + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// A drain with a queue in front.
pub(super) struct Buffered {
    queue: AsyncCore,
    direct: Arc<Direct>,
}

/// What both the queue's thread and a logging thread can reach.
struct Direct {
    drain: LineDrain,
    dropped: AtomicU64,
}

/// Writes out what waits in the queue when it is dropped.
///
/// Lines that are logged after that are dropped and counted, warnings and worse still written.
pub struct Guard {
    queue: Option<AsyncGuard>,
    direct: Arc<Direct>,
}

impl Buffered {
    /// Starts the thread that writes to `drain`.
    pub(super) fn start(drain: LineDrain) -> (Self, Guard) {
        Self::with_capacity(drain, QUEUE_LINES)
    }

    fn with_capacity(drain: LineDrain, lines: usize) -> (Self, Guard) {
        let direct = Arc::new(Direct {
            drain,
            dropped: AtomicU64::new(0),
        });
        let (queue, guard) = AsyncCore::custom(Arc::clone(&direct))
            .chan_size(lines)
            .thread_name("log".to_owned())
            .build_with_guard();
        (
            Self {
                queue,
                direct: Arc::clone(&direct),
            },
            Guard {
                queue: Some(guard),
                direct,
            },
        )
    }
}

impl Drain for Buffered {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match self.queue.log(record, values) {
            Ok(()) => {}
            Err(AsyncError::Full | AsyncError::Fatal(_)) if record.level().is_at_least(Level::Warning) => {
                self.direct.log(record, values)?;
            }
            Err(AsyncError::Full | AsyncError::Fatal(_)) => {
                self.direct.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl Direct {
    fn report_dropped(&self) {
        let count = self.dropped.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let message = format_args!("log lines were dropped: they came faster than they could be written");
        let Ok(()) = self.drain.log(
            &record!(Level::Warning, "", &message, b!("count" => count)),
            &o!().into(),
        );
    }
}

impl Drain for Direct {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        self.report_dropped();
        self.drain.log(record, values)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.queue.take());
        self.direct.report_dropped();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Condvar, Mutex};

    use slog::{Logger, info, warn};

    use super::*;

    type Lines = Arc<Mutex<Vec<String>>>;

    /// Writes nothing while it is closed, as a terminal on hold.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        changed: Condvar,
    }

    impl Gate {
        fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.changed.notify_all();
        }
    }

    struct Recorder {
        gate: Arc<Gate>,
        begun: Sender<()>,
        lines: Lines,
    }

    impl Drain for Recorder {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            // Only the queue's thread waits: the one that logs has to go on with the test.
            if std::thread::current().name() == Some("log") {
                let _ = self.begun.send(());
                let open = self.gate.open.lock().unwrap();
                drop(self.gate.changed.wait_while(open, |open| !*open).unwrap());
            }
            self.lines
                .lock()
                .unwrap()
                .push(format!("{} {}", record.level().as_short_str(), record.msg()));
            Ok(())
        }
    }

    fn recorder() -> (LineDrain, Arc<Gate>, Receiver<()>, Lines) {
        let (gate, lines) = (Arc::<Gate>::default(), Arc::default());
        let (begun, has_begun) = channel();
        let recorder = Recorder {
            gate: Arc::clone(&gate),
            begun,
            lines: Arc::clone(&lines),
        };
        (Box::new(recorder), gate, has_begun, lines)
    }

    #[test]
    fn a_full_queue_drops_info_with_a_count_and_never_a_warning() {
        let (drain, gate, has_begun, lines) = recorder();
        let (buffered, guard) = Buffered::with_capacity(drain, 2);
        let log = Logger::root(Arc::new(buffered).ignore_res(), o!());

        info!(log, "1");
        has_begun.recv().unwrap();
        for line in ["2", "3", "4", "5"] {
            info!(log, "{}", line);
        }
        warn!(log, "now");
        gate.open();
        drop(guard);

        let dropped = "WARN log lines were dropped: they came faster than they could be written";
        assert_eq!(
            *lines.lock().unwrap(),
            [dropped, "WARN now", "INFO 1", "INFO 2", "INFO 3"]
        );
    }

    #[test]
    fn dropping_the_guard_writes_what_waits() {
        let (drain, gate, _has_begun, lines) = recorder();
        let (buffered, guard) = Buffered::with_capacity(drain, 128);
        let log = Logger::root(Arc::new(buffered).ignore_res(), o!());
        for line in 0..100 {
            info!(log, "{}", line);
        }
        gate.open();
        drop(guard);
        assert_eq!(lines.lock().unwrap().len(), 100);

        warn!(log, "late");
        assert_eq!(lines.lock().unwrap().last().unwrap(), "WARN late");
    }
}
