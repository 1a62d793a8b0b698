//! What one exchange delivers.

use std::collections::VecDeque;

/// A delivery that is handed out. Its value stays in the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    pub(super) id: usize,
    /// Tells it from a later delivery that has taken its place.
    pub(super) arrival: u64,
}

impl Member {
    /// Its arrival number: what was pushed later has a greater one.
    #[must_use]
    pub fn arrival(self) -> u64 {
        self.arrival
    }
}

/// The deliveries of one exchange, in the order in which they are sent.
///
/// Only the first few of them, [`Group::sending`], are sent next: all of them, but for a group that was refused and is
/// cut in halves until what is refused is found ([`Group::bisect`]). A group of one costs no allocation.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a group that is handed out must be given back"]
pub struct Group {
    first: Option<Member>,
    others: VecDeque<Member>,
    sending: usize,
}

impl Group {
    pub(super) fn of(member: Member) -> Self {
        Self {
            first: Some(member),
            others: VecDeque::new(),
            sending: 1,
        }
    }

    /// How many deliveries it has, those that are not sent next included.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    /// Whether all of it is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// All of it, in order.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.first.iter().chain(&self.others).copied()
    }

    /// What is sent next, in order.
    pub fn sending(&self) -> impl Iterator<Item = Member> {
        self.members().take(self.sending)
    }

    /// How many are sent next.
    #[must_use]
    pub fn sending_len(&self) -> usize {
        self.sending
    }

    /// The one that is settled next.
    #[must_use]
    pub fn first(&self) -> Option<Member> {
        self.first
    }

    /// What was sent is refused, but not all of it need be at fault: next only the first half of it is sent.
    pub fn bisect(&mut self) {
        self.sending = self.sending.div_ceil(2);
    }

    /// Something of it was settled: next all that is left is sent.
    pub fn rest(&mut self) {
        self.sending = self.len();
    }

    pub(super) fn push(&mut self, member: Member) {
        self.others.push_back(member);
        self.sending += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Member> {
        let first = self.first.take()?;
        self.first = self.others.pop_front();
        self.sending = self.sending.saturating_sub(1);
        Some(first)
    }

    /// Keeps the members that pass. Of those that were to be sent next, what is left of them still is.
    pub(super) fn retain(&mut self, keep: impl Fn(Member) -> bool) {
        self.sending = self.sending().filter(|member| keep(*member)).count();
        self.others.retain(|member| keep(*member));
        if !self.first.is_some_and(&keep) {
            self.first = self.others.pop_front();
        }
        self.never_idle();
    }

    /// A group that is to be sent sends something.
    pub(super) fn never_idle(&mut self) {
        if self.sending == 0 {
            self.rest();
        }
    }
}
