//! What can be seen of the stream from outside of its task. Pure: time is an argument.
//!
//! The task that streams writes; probes and metrics read. Writing takes a few atomic stores for each batch of frames, and a
//! short lock where the state of the connection changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgstream_proto::Lsn;

/// How the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// The program is not that far yet.
    Starting,
    /// Another process makes the deliveries or streams from the slot: it is waited for.
    StandingBy,
    /// It is being made for the first time.
    Connecting,
    /// Changes come.
    Streaming,
    /// It was lost, and is being made again.
    Reconnecting,
    /// The stream has ended, and so will the program.
    Stopped,
}

impl ConnectionState {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::StandingBy,
        Self::Connecting,
        Self::Streaming,
        Self::Reconnecting,
        Self::Stopped,
    ];

    /// Its name in metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::StandingBy => "standing_by",
            Self::Connecting => "connecting",
            Self::Streaming => "streaming",
            Self::Reconnecting => "reconnecting",
            Self::Stopped => "stopped",
        }
    }
}

/// What a notice within the stream is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// A change of a table without replica identity was left out.
    MissingIdentity,
    /// Anything else.
    Other,
}

/// What the task that streams knows when it reports to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Everything up to here has been received.
    pub received: Lsn,
    /// Everything up to here is settled.
    pub confirmed: Lsn,
    /// Whether anything that was read to its commit is not settled.
    pub has_unsettled: bool,
    /// Whether the server is asked for a sign of life.
    pub asks: bool,
}

/// What is seen at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How the connection is.
    pub state: ConnectionState,
    /// Since when.
    pub since: Instant,
    /// Everything up to here has been received.
    pub received: Lsn,
    /// Everything up to here is settled.
    pub confirmed: Lsn,
    /// The end of the server's WAL, as the server said last.
    pub wal_end: Lsn,
    /// When the server was last heard.
    pub heard: Option<Instant>,
    /// Since when it is asked for a sign of life and gives none.
    pub asked: Option<Instant>,
    /// Since when nothing is read, because something is waited for, such as room in memory.
    pub paused: Option<Instant>,
    /// When the task last came to its timer.
    pub ticked: Option<Instant>,
    /// Since when something that was read to its commit is not settled, at every report.
    pub unsettled: Option<Instant>,
    /// How often a stream was started again.
    pub reconnects: u64,
    /// Notices about changes without replica identity.
    pub missing_identities: u64,
    /// Other notices.
    pub other_notices: u64,
}

/// What is seen of the stream.
#[derive(Debug)]
pub struct Vitals {
    /// Times are kept as milliseconds since then, and one more: zero is never.
    base: Instant,
    connection: Mutex<Connection>,
    received: AtomicU64,
    confirmed: AtomicU64,
    wal_end: AtomicU64,
    heard: AtomicU64,
    asked: AtomicU64,
    paused: AtomicU64,
    ticked: AtomicU64,
    unsettled: AtomicU64,
    reconnects: AtomicU64,
    missing_identities: AtomicU64,
    other_notices: AtomicU64,
}

#[derive(Debug)]
struct Connection {
    state: ConnectionState,
    since: Instant,
    has_streamed: bool,
}

impl Vitals {
    /// Those of a stream that is not begun.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let connection = Connection {
            state: ConnectionState::Starting,
            since: now,
            has_streamed: false,
        };
        Self {
            base: now,
            connection: Mutex::new(connection),
            received: AtomicU64::default(),
            confirmed: AtomicU64::default(),
            wal_end: AtomicU64::default(),
            heard: AtomicU64::default(),
            asked: AtomicU64::default(),
            paused: AtomicU64::default(),
            ticked: AtomicU64::default(),
            unsettled: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            missing_identities: AtomicU64::default(),
            other_notices: AtomicU64::default(),
        }
    }

    /// The connection is being made: for the first time, or again.
    pub fn connecting(&self, now: Instant) {
        let mut connection = self.lock();
        let state = if connection.has_streamed {
            ConnectionState::Reconnecting
        } else {
            ConnectionState::Connecting
        };
        connection.change(state, now);
    }

    /// Another process has what this one waits for.
    pub fn standing_by(&self, now: Instant) {
        self.lock().change(ConnectionState::StandingBy, now);
    }

    /// Another walsender has the slot. After a connection was lost that is likely our own, which has not noticed yet.
    pub fn slot_is_busy(&self, now: Instant) {
        let mut connection = self.lock();
        let state = if connection.has_streamed {
            ConnectionState::Reconnecting
        } else {
            ConnectionState::StandingBy
        };
        connection.change(state, now);
    }

    /// The stream starts, or starts again, behind `start`.
    pub fn streaming(&self, start: Lsn, now: Instant) {
        let mut connection = self.lock();
        if connection.has_streamed {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        connection.has_streamed = true;
        connection.change(ConnectionState::Streaming, now);
        self.received.fetch_max(start.as_u64(), Ordering::Relaxed);
        self.confirmed.fetch_max(start.as_u64(), Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
        self.paused.store(0, Ordering::Relaxed);
        self.ticked.store(self.moment(now), Ordering::Relaxed);
        self.heard.store(self.moment(now), Ordering::Relaxed);
    }

    /// The connection broke.
    pub fn lost(&self, now: Instant) {
        self.lock().change(ConnectionState::Reconnecting, now);
    }

    /// The stream has ended for good.
    pub fn stopped(&self, now: Instant) {
        self.lock().change(ConnectionState::Stopped, now);
    }

    /// The stream has ended, and is to be begun anew.
    pub fn begun_anew(&self, now: Instant) {
        self.lock().change(ConnectionState::Reconnecting, now);
        self.unsettled.store(0, Ordering::Relaxed);
    }

    /// Something came from the server, up to `received`, and its WAL ends at `wal_end`.
    pub fn heard(&self, received: Lsn, wal_end: Lsn, now: Instant) {
        self.received.store(received.as_u64(), Ordering::Relaxed);
        self.wal_end.store(wal_end.as_u64(), Ordering::Relaxed);
        self.heard.store(self.moment(now), Ordering::Relaxed);
        self.is_alive();
    }

    /// The server is known to be at work, as by having been seen over another connection: until it is asked again, its silence
    /// means nothing.
    pub fn is_alive(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// The task has come to its timer, and reports this.
    pub fn reports(&self, report: Report, now: Instant) {
        self.ticked.store(self.moment(now), Ordering::Relaxed);
        self.received.store(report.received.as_u64(), Ordering::Relaxed);
        self.confirmed.store(report.confirmed.as_u64(), Ordering::Relaxed);
        if report.has_unsettled {
            self.begin(&self.unsettled, now);
        } else {
            self.unsettled.store(0, Ordering::Relaxed);
        }
        if report.asks {
            self.begin(&self.asked, now);
        }
    }

    /// Nothing is read from now on: something is waited for.
    pub fn paused(&self, now: Instant) {
        self.begin(&self.paused, now);
    }

    /// It is read again.
    pub fn resumed(&self) {
        self.paused.store(0, Ordering::Relaxed);
    }

    /// A notice came.
    pub fn notice(&self, kind: NoticeKind) {
        let counter = match kind {
            NoticeKind::MissingIdentity => &self.missing_identities,
            NoticeKind::Other => &self.other_notices,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What is to be seen now. Its parts may be of slightly different times.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let (state, since) = {
            let connection = self.lock();
            (connection.state, connection.since)
        };
        let lsn = |lsn: &AtomicU64| Lsn::new(lsn.load(Ordering::Relaxed));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            state,
            since,
            received: lsn(&self.received),
            confirmed: lsn(&self.confirmed),
            wal_end: lsn(&self.wal_end),
            heard: self.time(&self.heard),
            asked: self.time(&self.asked),
            paused: self.time(&self.paused),
            ticked: self.time(&self.ticked),
            unsettled: self.time(&self.unsettled),
            reconnects: count(&self.reconnects),
            missing_identities: count(&self.missing_identities),
            other_notices: count(&self.other_notices),
        }
    }

    /// Sets the time of something that begins now, unless it has begun before. Only the task that streams writes it.
    fn begin(&self, moment: &AtomicU64, now: Instant) {
        if moment.load(Ordering::Relaxed) == 0 {
            moment.store(self.moment(now), Ordering::Relaxed);
        }
    }

    fn moment(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.base).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
    }

    fn time(&self, moment: &AtomicU64) -> Option<Instant> {
        let millis = moment.load(Ordering::Relaxed).checked_sub(1)?;
        self.base.checked_add(Duration::from_millis(millis))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn change(&mut self, state: ConnectionState, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_connection_that_was_lost_is_made_again_and_counted() {
        let start = Instant::now();
        let vitals = Vitals::new(start);
        let state = |vitals: &Vitals| (vitals.seen().state, vitals.seen().since - start);
        assert_eq!(state(&vitals), (ConnectionState::Starting, Duration::ZERO));
        vitals.connecting(start + SECOND);
        vitals.connecting(start + 2 * SECOND);
        assert_eq!(state(&vitals), (ConnectionState::Connecting, SECOND));
        vitals.streaming(Lsn::new(7), start + 3 * SECOND);
        assert_eq!(state(&vitals), (ConnectionState::Streaming, 3 * SECOND));
        assert_eq!(
            (vitals.seen().confirmed, vitals.seen().reconnects),
            (Lsn::new(7), 0)
        );
        vitals.lost(start + 4 * SECOND);
        vitals.connecting(start + 5 * SECOND);
        assert_eq!(state(&vitals), (ConnectionState::Reconnecting, 4 * SECOND));
        // Our own walsender has the slot for a while; another instance that has the store is something else.
        vitals.slot_is_busy(start + 5 * SECOND);
        assert_eq!(state(&vitals), (ConnectionState::Reconnecting, 4 * SECOND));
        vitals.streaming(Lsn::new(7), start + 6 * SECOND);
        assert_eq!(vitals.seen().reconnects, 1);
        vitals.stopped(start + 7 * SECOND);
        vitals.begun_anew(start + 8 * SECOND);
        assert_eq!(state(&vitals), (ConnectionState::Reconnecting, 8 * SECOND));
        vitals.standing_by(start + 9 * SECOND);
        assert_eq!(state(&vitals), (ConnectionState::StandingBy, 9 * SECOND));
    }

    #[test]
    fn a_slot_that_another_has_from_the_start_is_waited_for() {
        let start = Instant::now();
        let vitals = Vitals::new(start);
        vitals.connecting(start);
        vitals.slot_is_busy(start + SECOND);
        assert_eq!(vitals.seen().state, ConnectionState::StandingBy);
    }

    #[test]
    fn silence_lasts_from_the_first_question_to_any_sign_of_life() {
        let start = Instant::now();
        let vitals = Vitals::new(start);
        let report = |asks| Report {
            received: Lsn::new(2),
            confirmed: Lsn::new(1),
            has_unsettled: true,
            asks,
        };
        vitals.reports(report(true), start + SECOND);
        vitals.reports(report(true), start + 2 * SECOND);
        assert_eq!(vitals.seen().asked, Some(start + SECOND));
        vitals.reports(report(false), start + 3 * SECOND);
        let seen = vitals.seen();
        assert_eq!(
            (seen.asked, seen.ticked),
            (Some(start + SECOND), Some(start + 3 * SECOND))
        );
        assert_eq!(
            (seen.received, seen.confirmed, seen.unsettled),
            (Lsn::new(2), Lsn::new(1), Some(start + SECOND))
        );
        // Seen at work, it is asked anew.
        vitals.is_alive();
        assert_eq!((vitals.seen().asked, vitals.seen().heard), (None, None));
        vitals.reports(report(true), start + 3 * SECOND);
        assert_eq!(vitals.seen().asked, Some(start + 3 * SECOND));
        vitals.heard(Lsn::new(3), Lsn::new(9), start + 4 * SECOND);
        let seen = vitals.seen();
        assert_eq!((seen.asked, seen.heard), (None, Some(start + 4 * SECOND)));
        assert_eq!((seen.received, seen.wal_end), (Lsn::new(3), Lsn::new(9)));
        let settled = Report {
            has_unsettled: false,
            ..report(false)
        };
        vitals.reports(settled, start + 5 * SECOND);
        assert_eq!(vitals.seen().unsettled, None);
    }

    #[test]
    fn a_pause_lasts_from_its_beginning() {
        let start = Instant::now();
        let vitals = Vitals::new(start);
        vitals.paused(start + SECOND);
        vitals.paused(start + 2 * SECOND);
        assert_eq!(vitals.seen().paused, Some(start + SECOND));
        vitals.resumed();
        assert_eq!(vitals.seen().paused, None);
    }

    #[test]
    fn notices_are_counted_by_their_kind() {
        let vitals = Vitals::new(Instant::now());
        vitals.notice(NoticeKind::MissingIdentity);
        vitals.notice(NoticeKind::MissingIdentity);
        vitals.notice(NoticeKind::Other);
        let seen = vitals.seen();
        assert_eq!((seen.missing_identities, seen.other_notices), (2, 1));
    }
}
