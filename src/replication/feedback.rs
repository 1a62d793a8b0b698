//! When a status update is due. Pure: time is an argument.
//!
//! # The rule
//!
//! A status goes out at least every 10 s and every third of the server's `wal_sender_timeout`, whatever else is going
//! on: whether or not anything is read, settled or asked for. A walsender that hears nothing for the whole timeout
//! ends the connection. New progress is reported sooner, but not for every single settlement.

use std::time::{Duration, Instant};

/// The longest time between two status updates.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest time between two status updates that only report progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// The shortest time between two questions to the witness where the server wants to be told more than is settled.
const PRESSED_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the times of status updates.
#[derive(Debug)]
pub(super) struct Feedback {
    interval: Duration,
    /// After so much silence the server is asked for a sign of life.
    patience: Duration,
    sent: Instant,
    heard: Instant,
    progress: bool,
    asked: bool,
    /// Whether the server has asked although not all is settled.
    pressed: bool,
    /// After so much silence somebody else is asked whether the server's end is still there, and at work, and again and again.
    silence: Duration,
    witnessed: Instant,
}

impl Feedback {
    /// `wal_sender_timeout` as read on this connection; zero means that it is switched off.
    pub(super) fn new(wal_sender_timeout: Duration, now: Instant) -> Self {
        let (interval, patience) = if wal_sender_timeout.is_zero() {
            (MAX_INTERVAL, MAX_INTERVAL * 3)
        } else {
            (MAX_INTERVAL.min(wal_sender_timeout / 3), wal_sender_timeout / 2)
        };
        Self {
            interval,
            patience,
            sent: now,
            heard: now,
            progress: false,
            asked: false,
            pressed: false,
            silence: patience + interval,
            witnessed: now,
        }
    }

    /// When the next status update is due.
    pub(super) fn due(&self) -> Instant {
        let interval = if self.asked {
            Duration::ZERO
        } else if self.progress {
            PROGRESS_INTERVAL.min(self.interval)
        } else {
            self.interval
        };
        self.sent + interval
    }

    /// Whether the next status update asks the server for a sign of life.
    pub(super) fn wants_reply(&self, now: Instant) -> bool {
        now.duration_since(self.heard) >= self.patience
    }

    /// Whether news of progress is waiting to be reported already.
    pub(super) fn has_progress(&self) -> bool {
        self.progress
    }

    /// Something was settled.
    pub(super) fn progressed(&mut self) {
        self.progress = true;
    }

    /// The server asks for a status update, while something is unsettled or not.
    pub(super) fn asked(&mut self, is_unsettled: bool) {
        self.asked = true;
        self.pressed = is_unsettled;
    }

    /// Whether to ask somebody else whether the server's end is still there and the server stays. A server that is shut down
    /// waits until all is confirmed that it has sent, and takes nothing that would let us confirm it.
    pub(super) fn wants_witness(&self, now: Instant) -> bool {
        let since = now.duration_since(self.witnessed);
        let silence = now.duration_since(self.heard);
        (self.pressed && since >= PRESSED_INTERVAL) || (silence >= self.silence && since >= self.interval / 2)
    }

    /// Somebody else is asked.
    pub(super) fn asked_witness(&mut self, now: Instant) {
        self.witnessed = now;
        self.pressed = false;
    }

    /// The server has sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A status update was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
        self.progress = false;
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_after(feedback: &Feedback, start: Instant) -> Duration {
        feedback.due() - start
    }

    #[test]
    fn a_third_of_the_timeout_at_most_ten_seconds() {
        let start = Instant::now();
        for (timeout, interval) in [(60, 10_000), (30, 10_000), (6, 2_000), (0, 10_000)] {
            let feedback = Feedback::new(Duration::from_secs(timeout), start);
            assert_eq!(
                due_after(&feedback, start),
                Duration::from_millis(interval),
                "timeout {timeout} s"
            );
        }
    }

    #[test]
    fn progress_is_reported_soon_and_a_request_at_once() {
        let start = Instant::now();
        let mut feedback = Feedback::new(Duration::from_secs(60), start);
        feedback.progressed();
        assert_eq!(due_after(&feedback, start), PROGRESS_INTERVAL);
        feedback.asked(false);
        assert_eq!(due_after(&feedback, start), Duration::ZERO);
        feedback.sent(start);
        assert_eq!(due_after(&feedback, start), MAX_INTERVAL);
        assert!(!feedback.has_progress());
    }

    #[test]
    fn a_witness_is_asked_where_no_reply_comes_and_soon_where_more_is_wanted_than_settled() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut feedback = Feedback::new(Duration::from_secs(6), start);
        assert!(!feedback.wants_witness(after(4)));
        assert!(feedback.wants_witness(after(5)));
        feedback.asked_witness(after(5));
        assert!(!feedback.wants_witness(after(5)));
        // With every status update, each of which asks for the reply that is owed.
        assert!(feedback.wants_witness(after(7)));
        feedback.asked_witness(after(7));
        feedback.heard(after(12));
        assert!(!feedback.wants_witness(after(12)));
        feedback.asked(false);
        assert!(!feedback.wants_witness(after(13)));
        feedback.asked(true);
        assert!(feedback.wants_witness(after(13)));
        feedback.asked_witness(after(13));
        assert!(!feedback.wants_witness(after(14)));
    }

    #[test]
    fn silence_of_half_the_timeout_is_asked_about() {
        let start = Instant::now();
        let mut feedback = Feedback::new(Duration::from_secs(6), start);
        assert!(!feedback.wants_reply(start + Duration::from_secs(2)));
        assert!(feedback.wants_reply(start + Duration::from_secs(3)));
        feedback.heard(start + Duration::from_secs(3));
        assert!(!feedback.wants_reply(start + Duration::from_secs(4)));
    }
}
