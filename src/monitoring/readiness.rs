//! When the program is ready, and when it is alive. Pure: time is an argument.
//!
//! Ready means: changes that are committed now will be delivered without anybody's help. An endpoint that does not answer is
//! none of its reasons: its deliveries wait in its backlog, and no other instance could make them.

use std::fmt;
use std::time::{Duration, Instant};

use crate::replication::{ConnectionState, Seen};

/// How long a connection may be lost before the program counts as not ready: a server that is restarted is back by then.
pub const LOST_GRACE: Duration = Duration::from_secs(30);
/// How long the server may owe a sign of life that it was asked for. It is asked only after it was silent for a while.
pub const SILENCE: Duration = Duration::from_secs(20);
/// How long nothing may be settled while something is to be.
pub const STALL: Duration = Duration::from_secs(300);
/// How long the task that streams may not come to its timer, which it does every 10 s at the latest.
pub const STUCK: Duration = Duration::from_secs(60);

/// What is known when it is asked whether the program is ready.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// What is seen of the stream.
    pub stream: Seen,
    /// Whether the backlogs are taken up, once the program is that far.
    pub recovered: Option<bool>,
    /// When anything was last settled or confirmed, as far as it was looked.
    pub progressed: Instant,
    /// Whether the store has answered just now.
    pub store_answers: bool,
}

/// Why the program is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is not that far yet.
    Starting,
    /// Another process makes the deliveries. It takes over when that one ends.
    StandingBy,
    /// The connection was lost so long ago.
    ConnectionLost(Duration),
    /// The store does not answer.
    StoreUnavailable,
    /// It takes up what was in the backlogs.
    Recovering,
    /// The server was asked for a sign of life so long ago, and has given none.
    Silent(Duration),
    /// Nothing has moved for so long, although something is to be settled or read.
    Stalled(Duration),
    /// It ends.
    Stopping,
}

/// Why the program does not count as alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck(pub Duration);

/// Whether the program is ready, or else the first reason why it is not.
///
/// # Errors
/// The reason.
pub fn ready(condition: &Condition, now: Instant) -> Result<(), Reason> {
    let Condition {
        stream,
        recovered,
        progressed,
        store_answers,
    } = condition;
    let for_long = |since: Instant, bound: Duration| {
        Some(now.saturating_duration_since(since)).filter(|passed| *passed > bound)
    };
    match stream.state {
        ConnectionState::Stopped => return Err(Reason::Stopping),
        ConnectionState::StandingBy => return Err(Reason::StandingBy),
        ConnectionState::Starting | ConnectionState::Connecting => return Err(Reason::Starting),
        ConnectionState::Reconnecting => {
            if let Some(lost) = for_long(stream.since, LOST_GRACE) {
                return Err(Reason::ConnectionLost(lost));
            }
        }
        ConnectionState::Streaming => {}
    }
    if !store_answers {
        return Err(Reason::StoreUnavailable);
    }
    match recovered {
        Some(true) => {}
        Some(false) => return Err(Reason::Recovering),
        None => return Err(Reason::Starting),
    }
    if stream.state == ConnectionState::Reconnecting {
        // It could not have moved.
        return Ok(());
    }
    // While nothing is read, answers lie unread behind the data.
    let asked = stream.asked.filter(|_| stream.paused.is_none());
    if let Some(silent) = asked.and_then(|since| for_long(since, SILENCE)) {
        return Err(Reason::Silent(silent));
    }
    // What is read for a long time without being settled, such as a huge transaction, moves on in deliveries.
    // After an idle time it is the first slow delivery that waits, not the hours before it.
    let waits_since = stream.unsettled.or(stream.paused);
    let stalled = waits_since.and_then(|since| for_long(since.max(*progressed).max(stream.since), STALL));
    stalled.map_or(Ok(()), |stalled| Err(Reason::Stalled(stalled)))
}

/// Whether the task that streams still turns.
///
/// # Errors
/// For how long it has not.
pub fn alive(stream: &Seen, now: Instant) -> Result<(), Stuck> {
    let ticked = stream
        .ticked
        .filter(|_| stream.state == ConnectionState::Streaming);
    match ticked.map(|ticked| now.saturating_duration_since(ticked)) {
        Some(stuck) if stuck > STUCK => Err(Stuck(stuck)),
        _ => Ok(()),
    }
}

/// Remembers when anything was last seen to have moved.
#[derive(Debug)]
pub struct Progress {
    confirmed: u64,
    settled: u64,
    at: Instant,
}

impl Progress {
    /// Nothing was seen yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            confirmed: 0,
            settled: 0,
            at: now,
        }
    }

    /// So much is confirmed now, and so many deliveries are settled or tried. Says when that was last different.
    pub fn note(&mut self, confirmed: u64, settled: u64, now: Instant) -> Instant {
        if (self.confirmed, self.settled) != (confirmed, settled) {
            (self.confirmed, self.settled, self.at) = (confirmed, settled, now);
        }
        self.at
    }
}

impl Reason {
    /// Its name for programs, which stays as it is.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::StandingBy => "standing_by",
            Self::ConnectionLost(_) => "connection_lost",
            Self::StoreUnavailable => "store_unavailable",
            Self::Recovering => "recovering",
            Self::Silent(_) => "silent",
            Self::Stalled(_) => "stalled",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("the stream is not started yet"),
            Self::StandingBy => f.write_str(
                "another pgstream makes the deliveries of this store or streams from this slot; \
                 this one takes over when that one ends",
            ),
            Self::ConnectionLost(passed) => {
                write!(
                    f,
                    "the connection to PostgreSQL was lost {} s ago",
                    passed.as_secs()
                )
            }
            Self::StoreUnavailable => f.write_str("the store database does not answer in time"),
            Self::Recovering => f.write_str("the backlogs are being taken up; reading waits for it"),
            Self::Silent(passed) => write!(
                f,
                "PostgreSQL was asked for a sign of life {} s ago and has sent nothing since",
                passed.as_secs()
            ),
            Self::Stalled(passed) => write!(
                f,
                "nothing was delivered, stored or confirmed for {} s, although something waits for it",
                passed.as_secs()
            ),
            Self::Stopping => f.write_str("the program ends"),
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the task that streams has not come to its timer for {} s",
            self.0.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use pgstream_proto::Lsn;

    use super::*;
    use crate::replication::Vitals;

    const SECOND: Duration = Duration::from_secs(1);

    /// A program that streams since `start`, and has nothing to do.
    fn well(start: Instant) -> Condition {
        let vitals = Vitals::new(start);
        vitals.streaming(Lsn::new(1), start);
        Condition {
            stream: vitals.seen(),
            recovered: Some(true),
            progressed: start,
            store_answers: true,
        }
    }

    fn in_state(start: Instant, state: ConnectionState) -> Condition {
        let mut condition = well(start);
        condition.stream.state = state;
        condition
    }

    #[test]
    fn an_idle_stream_is_ready_for_ever() {
        let start = Instant::now();
        assert_eq!(ready(&well(start), start + 100_000 * SECOND), Ok(()));
    }

    #[test]
    fn only_a_stream_is_ready() {
        let start = Instant::now();
        for (state, expected) in [
            (ConnectionState::Starting, Err(Reason::Starting)),
            (ConnectionState::Connecting, Err(Reason::Starting)),
            (ConnectionState::StandingBy, Err(Reason::StandingBy)),
            (ConnectionState::Streaming, Ok(())),
            (ConnectionState::Reconnecting, Ok(())),
            (ConnectionState::Stopped, Err(Reason::Stopping)),
        ] {
            assert_eq!(
                ready(&in_state(start, state), start + SECOND),
                expected,
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_lost_connection_has_its_grace() {
        let start = Instant::now();
        let lost = in_state(start, ConnectionState::Reconnecting);
        assert_eq!(ready(&lost, start + LOST_GRACE), Ok(()));
        let later = LOST_GRACE + SECOND;
        assert_eq!(ready(&lost, start + later), Err(Reason::ConnectionLost(later)));
    }

    #[test]
    fn the_store_and_the_backlogs_come_before_the_stream() {
        let start = Instant::now();
        let without_store = Condition {
            store_answers: false,
            recovered: Some(false),
            ..well(start)
        };
        assert_eq!(ready(&without_store, start), Err(Reason::StoreUnavailable));
        for (recovered, expected) in [
            (None, Err(Reason::Starting)),
            (Some(false), Err(Reason::Recovering)),
            (Some(true), Ok(())),
        ] {
            let condition = Condition {
                recovered,
                ..well(start)
            };
            assert_eq!(ready(&condition, start), expected, "{recovered:?}");
        }
    }

    #[test]
    fn silence_counts_from_the_question_and_only_while_something_is_read() {
        let start = Instant::now();
        let mut condition = well(start);
        condition.stream.asked = Some(start + 30 * SECOND);
        let at = |seconds: u32| start + seconds * SECOND;
        assert_eq!(ready(&condition, at(50)), Ok(()));
        assert_eq!(ready(&condition, at(51)), Err(Reason::Silent(21 * SECOND)));
        condition.stream.paused = Some(at(10));
        assert_eq!(ready(&condition, at(51)), Ok(()));
    }

    #[test]
    fn what_waits_has_to_move() {
        let start = Instant::now();
        let late = start + STALL + SECOND;
        let stalled = Err(Reason::Stalled(STALL + SECOND));
        let mut unsettled = well(start);
        unsettled.stream.unsettled = Some(start);
        assert_eq!(ready(&unsettled, start + STALL), Ok(()));
        assert_eq!(ready(&unsettled, late), stalled);
        let moved = Condition {
            progressed: start + 2 * SECOND,
            ..unsettled
        };
        assert_eq!(ready(&moved, late), Ok(()));
        let hour = 3_600 * SECOND;
        let mut after_an_idle_hour = well(start);
        after_an_idle_hour.stream.unsettled = Some(start + hour);
        assert_eq!(ready(&after_an_idle_hour, start + hour + SECOND), Ok(()));
        assert_eq!(
            ready(&after_an_idle_hour, late + hour),
            Err(Reason::Stalled(STALL + SECOND))
        );
        let mut paused = well(start);
        paused.stream.paused = Some(start);
        assert_eq!(ready(&paused, late), stalled);
        paused.stream.paused = Some(start + 2 * SECOND);
        assert_eq!(ready(&paused, late), Ok(()));
    }

    #[test]
    fn progress_is_any_difference() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let at = |seconds: u32| start + seconds * SECOND;
        assert_eq!(progress.note(0, 0, at(1)), start);
        assert_eq!(progress.note(5, 0, at(2)), at(2));
        assert_eq!(progress.note(5, 0, at(3)), at(2));
        assert_eq!(progress.note(5, 1, at(4)), at(4));
    }

    #[test]
    fn a_stream_that_does_not_tick_is_not_alive() {
        let start = Instant::now();
        let streaming = well(start).stream;
        assert_eq!(alive(&streaming, start + STUCK), Ok(()));
        let late = start + STUCK + SECOND;
        assert_eq!(alive(&streaming, late), Err(Stuck(STUCK + SECOND)));
        // What waits for another process, or for the network, has no timer.
        for state in [ConnectionState::StandingBy, ConnectionState::Reconnecting] {
            assert_eq!(alive(&in_state(start, state).stream, late), Ok(()));
        }
    }
}
