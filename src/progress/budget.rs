//! The byte budget: how much may be held in memory for deliveries.
//!
//! # The invariant
//!
//! The shares that exist add up to at most the limit, except that one share larger than the limit may be taken while
//! nothing else is in use, that one row may be taken in whatever is in use while no other row is, and that
//! [`Budget::overdraw`] always gives one: its callers see to it that what they hold in this way is small.
//!
//! The stream and the rows that are read beside it wait for each other: what the stream holds back is released when the rows
//! are done. So neither may keep the other out: an eighth is reserved for rows while any are read, and they take no more than
//! that while the stream waits, and no more than half otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Bytes that may be in flight. Anyone may take shares, and gives them back by dropping them. Two tasks may wait for room:
/// the reader of the stream, and whoever reads rows.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// What of it is used for rows that are read.
    used_for_rows: AtomicU64,
    /// What only rows may be taken in with, as long as any are read: else they could wait for the stream, which waits for them.
    reserved: AtomicU64,
    stream: Waiter,
    rows: Waiter,
    pressed: Notify,
}

/// A task that may wait for room.
#[derive(Debug, Default)]
struct Waiter {
    /// What it wants, or 0 if it does not wait.
    wanted: AtomicU64,
    freed: Notify,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: u64,
    is_for_rows: bool,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            used_for_rows: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            stream: Waiter::default(),
            rows: Waiter::default(),
            pressed: Notify::new(),
        })
    }

    /// The bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    /// The bytes that may be in use.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes `bytes`, or nothing if they do not fit. More than half of the limit fits as soon as half is free,
    /// and more than the whole limit so too: there may always be a little in use that waits for an endpoint which is down.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        self.take(bytes, self.unreserved())
    }

    /// The stream has taken what it waited for, or needs it no more.
    pub fn stream_goes_on(&self) {
        if self.stream.is_waiting() {
            self.stream.wanted.store(0, Ordering::SeqCst);
            self.wake_rows();
        }
    }

    /// Wakes whoever waits for room for a row, if there may be.
    fn wake_rows(&self) {
        let wanted = self.rows.wanted.load(Ordering::SeqCst);
        if wanted > 0 && self.has_room_for_row(wanted) {
            self.rows.freed.notify_one();
        }
    }

    /// The same for rows, which may be taken in with what is reserved as well.
    #[must_use]
    pub fn try_take_for_row(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let add = |rows: u64| self.may_take_row(rows, bytes).then(|| rows.saturating_add(bytes));
        let before = self
            .used_for_rows
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add)
            .ok()?;
        let taken = if before == 0 {
            Some(self.overdraw(bytes))
        } else {
            self.take(bytes, self.limit)
        };
        let Some(mut share) = taken else {
            self.used_for_rows.fetch_sub(bytes, Ordering::SeqCst);
            self.wake_rows();
            return None;
        };
        share.is_for_rows = true;
        Some(share)
    }

    /// Whether rows that use so much may use more.
    fn may_take_row(&self, rows: u64, bytes: u64) -> bool {
        let limit = if self.stream.is_waiting() {
            self.limit / 8
        } else if self.reserved.load(Ordering::SeqCst) > 0 {
            self.limit / 2
        } else {
            self.limit
        };
        rows == 0 || rows.saturating_add(bytes) <= limit
    }

    /// Reserves an eighth for rows, or ends that.
    pub fn reserve_for_rows(&self, is_reserved: bool) {
        let reserved = if is_reserved { self.limit / 8 } else { 0 };
        self.reserved.store(reserved, Ordering::SeqCst);
        if !is_reserved && self.stream.is_waiting() {
            self.stream.freed.notify_one();
        }
    }

    fn take(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<Share> {
        let take = |used: u64| fits(used, bytes, limit).then(|| used.saturating_add(bytes));
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        let used = taken.map_or(u64::MAX, |before| before.saturating_add(bytes));
        if used > self.pressure_begins() {
            self.pressed.notify_one();
        }
        taken.ok().map(|_| self.share(bytes))
    }

    /// How many bytes are worth taking at one time for what is read ahead: at most `wanted`, and a small part of the limit.
    #[must_use]
    pub fn slice(&self, wanted: u64) -> u64 {
        (self.limit / 16).clamp(1, wanted.max(1))
    }

    /// Takes `bytes`, whether they fit or not: for those without whom what is in use would never become less.
    #[must_use]
    pub fn overdraw(self: &Arc<Self>, bytes: u64) -> Share {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        self.share(bytes)
    }

    /// Whether so much is in use that some of it is to go elsewhere: more than three quarters, or somebody waits.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.used() > self.pressure_begins() || self.stream.is_waiting() || self.rows.is_waiting()
    }

    /// Whether half is free, which ends the pressure.
    #[must_use]
    pub fn is_relieved(&self) -> bool {
        self.used() <= self.limit / 2
    }

    /// How much has to become free until half is.
    #[must_use]
    pub fn excess(&self) -> u64 {
        self.used().saturating_sub(self.limit / 2)
    }

    /// Waits until [`is_pressed`](Self::is_pressed) may have become true. One task may wait.
    pub async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// Waits until `bytes` fit and a slice of the budget beside them is free, so that a reader at the limit reads on
    /// in strides instead of one event at a time. Safe to cancel and call again. One task may wait, and counts as waiting until
    /// it [goes on](Self::stream_goes_on): rows would take what it waited for in between.
    pub async fn room_for(&self, bytes: u64) {
        let room = || self.has_stride_for(bytes, self.unreserved());
        self.room(&self.stream, bytes, room).await;
    }

    /// The same for rows. One task may wait.
    pub async fn room_for_row(&self, bytes: u64) {
        // Whoever does not wait to the end of it must not be thought to wait for ever.
        let waiting = StopWaiting(&self.rows);
        self.room(&self.rows, bytes, || self.has_room_for_row(bytes))
            .await;
        drop(waiting);
    }

    fn has_room_for_row(&self, bytes: u64) -> bool {
        let rows = self.used_for_rows.load(Ordering::SeqCst);
        rows == 0 || (self.may_take_row(rows, bytes) && self.has_stride_for(bytes, self.limit))
    }

    async fn room(&self, waiter: &Waiter, bytes: u64, has_room: impl Fn() -> bool) {
        loop {
            // Announced before looking: a share given back in between either is seen here or sees this.
            waiter.wanted.store(bytes.max(1), Ordering::SeqCst);
            if has_room() {
                return;
            }
            self.pressed.notify_one();
            waiter.freed.notified().await;
        }
    }

    fn unreserved(&self) -> u64 {
        self.limit - self.reserved.load(Ordering::SeqCst)
    }

    fn share(self: &Arc<Self>, bytes: u64) -> Share {
        Share {
            budget: Arc::clone(self),
            bytes,
            is_for_rows: false,
        }
    }

    const fn pressure_begins(&self) -> u64 {
        self.limit / 4 * 3
    }

    fn has_stride_for(&self, bytes: u64, limit: u64) -> bool {
        let stride = bytes.max(limit / 8);
        self.used().saturating_add(stride) <= limit || fits(self.used(), bytes.max(stride), limit)
    }
}

fn fits(used: u64, bytes: u64, limit: u64) -> bool {
    used.saturating_add(bytes) <= limit || (bytes > limit / 2 && used <= limit / 2)
}

impl Waiter {
    fn is_waiting(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) > 0
    }
}

impl Share {
    /// How many bytes it holds.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Cuts a share of at most `bytes` off this one.
    #[must_use]
    pub fn split_off(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: Arc::clone(&self.budget),
            bytes,
            is_for_rows: self.is_for_rows,
        }
    }
}

/// Has a waiter not wait any more when it is dropped.
struct StopWaiting<'a>(&'a Waiter);

impl Drop for StopWaiting<'_> {
    fn drop(&mut self) {
        self.0.wanted.store(0, Ordering::SeqCst);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::SeqCst);
        let budget = &self.budget;
        if self.is_for_rows {
            budget.used_for_rows.fetch_sub(self.bytes, Ordering::SeqCst);
        }
        let wanted = budget.stream.wanted.load(Ordering::SeqCst);
        if wanted > 0 && budget.has_stride_for(wanted, budget.unreserved()) {
            budget.stream.freed.notify_one();
        }
        budget.wake_rows();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_share_larger_than_the_limit_goes_through_beside_what_is_half_of_it() {
        let budget = Budget::new(100);
        let mut small = budget.try_take(51).unwrap();
        assert!(budget.try_take(1000).is_none() && budget.room_for(1000).now_or_never().is_none());
        drop(small.split_off(1));
        assert!(budget.room_for(1000).now_or_never().is_some());
        let large = budget.try_take(1000).unwrap();
        assert!(budget.try_take(1).is_none() && budget.try_take(1000).is_none());
        drop((small, large));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn three_quarters_are_pressure_and_half_relieves_it() {
        let budget = Budget::new(100);
        let mut most = budget.try_take(75).unwrap();
        assert!(!budget.is_pressed() && budget.pressed().now_or_never().is_none());
        let more = budget.try_take(1).unwrap();
        assert!(budget.is_pressed() && budget.pressed().now_or_never().is_some());
        assert!(budget.try_take(30).is_none());
        assert!(
            budget.pressed().now_or_never().is_some(),
            "what did not fit presses too"
        );
        let part = most.split_off(26);
        assert_eq!((part.bytes(), most.bytes(), budget.used()), (26, 49, 76));
        drop(part);
        assert_eq!(
            (budget.is_pressed(), budget.is_relieved(), budget.excess()),
            (false, true, 0)
        );
        drop(budget.overdraw(1000));
        drop((most, more));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_waiter_is_woken_when_a_stride_is_free_and_may_be_cancelled() {
        let budget = Budget::new(80);
        let mut shares: Vec<_> = (0..80).map(|_| budget.try_take(1).unwrap()).collect();
        assert!(budget.room_for(1).now_or_never().is_none());
        let mut waiting = Box::pin(budget.room_for(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        for _ in 0..9 {
            shares.pop();
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        shares.pop();
        assert!(waiting.as_mut().now_or_never().is_some());
    }

    #[test]
    fn an_eighth_is_for_rows_alone_while_it_is_reserved() {
        let budget = Budget::new(80);
        budget.reserve_for_rows(true);
        let most = budget.try_take(70).unwrap();
        assert!(budget.try_take(1).is_none());
        let mut stream = Box::pin(budget.room_for(1));
        assert!(stream.as_mut().now_or_never().is_none());
        assert!(
            budget.room_for_row(5).now_or_never().is_some(),
            "beside the stream, which waits"
        );
        let row = budget.try_take_for_row(10).unwrap();
        assert!(budget.try_take_for_row(1).is_none());
        budget.reserve_for_rows(false);
        assert!(stream.as_mut().now_or_never().is_none(), "all of it is in use");
        drop(row);
        assert!(stream.as_mut().now_or_never().is_some());
        drop(most);
    }

    #[test]
    fn rows_take_no_more_than_that_while_the_stream_waits() {
        let budget = Budget::new(80);
        budget.reserve_for_rows(true);
        let mut rows = Vec::new();
        while let Some(row) = budget.try_take_for_row(1) {
            rows.push(row);
        }
        assert_eq!(rows.len(), 40, "half of it is for others");
        let most = budget.try_take(30).unwrap();
        let mut stream = Box::pin(budget.room_for(1));
        assert!(stream.as_mut().now_or_never().is_none());
        // However little comes back at a time, it is the stream's.
        while stream.as_mut().now_or_never().is_none() {
            rows.pop();
            assert!(budget.try_take_for_row(1).is_none());
            assert!(budget.room_for_row(1).now_or_never().is_none());
        }
        assert!(rows.len() > 20);
        assert!(budget.try_take_for_row(1).is_none(), "it has not taken it yet");
        let taken = budget.try_take(1).unwrap();
        budget.stream_goes_on();
        assert!(budget.try_take_for_row(1).is_some(), "it does not wait any more");
        drop((taken, most));
    }

    #[test]
    fn one_row_may_always_be_taken_in_and_a_wait_that_is_broken_off_is_over() {
        let budget = Budget::new(80);
        let all = budget.try_take(80).unwrap();
        let row = budget.try_take_for_row(1000).unwrap();
        assert!(budget.try_take_for_row(1).is_none());
        assert!(budget.room_for_row(1).now_or_never().is_none());
        drop((all, row));
        assert!(!budget.is_pressed() && budget.used() == 0);
        assert!(budget.try_take_for_row(1).is_some());
    }

    proptest! {
        #[test]
        fn never_exceeds_the_limit_but_for_one_beside_half_of_it(
            steps in proptest::collection::vec(prop_oneof![(0..150_u64).prop_map(Some), Just(None)], 0..100),
        ) {
            let budget = Budget::new(100);
            let mut shares: Vec<(u64, Share)> = Vec::new();
            for step in steps {
                match step {
                    Some(bytes) => {
                        let sum: u64 = shares.iter().map(|(bytes, _)| bytes).sum();
                        let taken = budget.try_take(bytes);
                        prop_assert_eq!(taken.is_some(), sum + bytes <= 100 || (bytes > 50 && sum <= 50));
                        shares.extend(taken.map(|share| (bytes, share)));
                    }
                    None => drop(shares.pop()),
                }
                let sum: u64 = shares.iter().map(|(bytes, _)| bytes).sum();
                prop_assert_eq!(budget.used(), sum);
                let largest = shares.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0);
                prop_assert!(sum <= 100 || (largest > 50 && sum - largest <= 50));
            }
        }
    }
}
