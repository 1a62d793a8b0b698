//! What an exchange's outcome means for the deliveries it was about, and for the endpoint.

use std::time::{Instant, SystemTime};

use super::backlog::{Dying, Route};
use super::{Change, Next, Outbox, State, Work};
use crate::delivery::backing::Delivery;
use crate::delivery::lanes::{Group, Member};
use crate::delivery::outcome::{Outcome, Reason};
use crate::delivery::retry::{Decision, Retries};
use crate::delivery::worker::Answer;
use crate::endpoint::{HealthState, Standing, Transition};

/// Why an event becomes a dead letter.
pub(super) mod reason {
    /// The receiver will never take it.
    pub(super) const REFUSED: &str = "refused";
    /// It was tried as often as is allowed.
    pub(super) const RETRIES: &str = "retries";
    /// It is older than is kept.
    pub(in crate::delivery::outbox) const RETENTION: &str = "retention";
}

impl Outbox {
    /// A worker is back with `answer`; it takes its next work under the same lock if `go_on`.
    pub(in crate::delivery) fn finish(&self, work: Work, answer: &Answer, go_on: bool, now: Instant) -> Next {
        let Work {
            group, slot, events, ..
        } = work;
        drop(events);
        let mut state = self.lock();
        state.in_flight -= 1;
        state.waiting_since = (state.in_flight > 0).then_some(now);
        state.slots.give_back(slot, now);
        let mut next = Next::default();
        match &answer.outcome {
            Outcome::Delivered => state.delivered(group, now, &mut next),
            Outcome::Refused { .. } => {
                let behind = state.backlog.route == Route::Behind;
                let transition = state.health.refused(behind, now);
                state.note(transition, &mut next);
                self.give_up(&mut state, group, answer, reason::REFUSED, now, &mut next);
            }
            Outcome::Gone => self.gone(&mut state, group, answer, now, &mut next),
            Outcome::Retry { reason, retry_after } => {
                if *reason == Reason::Timeout {
                    state.window.timed_out();
                }
                if let Some(wish) = retry_after {
                    state
                        .health
                        .pause_until(now + (*wish).min(self.policy.retry.maximum()));
                }
                self.failed(&mut state, group, answer, now, &mut next);
            }
        }
        // After a failure the turn ends, so that the endpoint's next one is counted as that of a failing endpoint.
        if go_on && answer.outcome == Outcome::Delivered {
            next.work = state.take(now);
        }
        state.next(now, next)
    }

    fn failed(&self, state: &mut State, group: Group, answer: &Answer, now: Instant, next: &mut Next) {
        let retry_after = match answer.outcome {
            Outcome::Retry { retry_after, .. } => retry_after,
            _ => None,
        };
        state.note_attempts(&group, answer, now);
        let (tries, overtaken) = state.standing_of(group.first());
        let too_old = state.is_too_old(group.first(), self.policy.retention);
        let unwanted = !state.is_wanted(self.target.url(), group.first());
        let decision = self
            .policy
            .retry
            .decide(tries, retry_after, overtaken, fastrand::f64());
        match decision {
            Decision::Again(wait) if !too_old => state.lanes.retry(group, now + wait),
            Decision::Again(wait) => self.expire(state, group, answer, now + wait, next),
            Decision::Dead => self.give_up(state, group, answer, reason::RETRIES, now, next),
        }
        let waiting = state.lanes.delayed();
        let wait = |rest| self.policy.retry.wait(rest, None, fastrand::f64());
        let transition = state.health.failed(waiting, now, fastrand::f64(), wait);
        state.note(transition, next);
        if state.health.is_tried_singly() {
            state.window.collapse();
        }
        if unwanted && let Some(keep) = state.backlog.keep.clone() {
            state.sweep(self.target.url(), &keep, now, &mut next.settled);
        }
        let down = matches!(state.health.state(), HealthState::Outage | HealthState::Probing);
        if (down && state.backlog.route == Route::Direct) || state.next_order.is_some() {
            next.changes.extend(state.spill("it is down"));
        }
    }

    /// The receiver does not want this endpoint any more: its events are kept until an operator says what to do.
    fn gone(&self, state: &mut State, group: Group, answer: &Answer, now: Instant, next: &mut Next) {
        state.note_attempts(&group, answer, now);
        state.lanes.retry(group, now);
        let transition = state.health.set_standing(Standing::Disabled, now);
        state.note(transition, next);
        state.backlog.disable = Some("answered 410");
        next.changes.extend(state.spill("it answered 410"));
    }

    /// Of the group, those that are too old become dead letters, and the others are tried again then.
    fn expire(&self, state: &mut State, mut group: Group, answer: &Answer, due: Instant, next: &mut Next) {
        while state.is_too_old(group.first(), self.policy.retention) {
            let (reason, error) = (reason::RETENTION, answer.text.clone());
            if self.policy.strict {
                let id = state.id_of(&group);
                next.changes.push(Change::MustStop { id, reason, error });
                break;
            }
            if let Some(delivery) = state.lanes.done(&mut group) {
                let id = delivery.event.id.clone();
                next.changes.push(Change::Died { id, reason, error });
                state.die(delivery, reason);
            }
        }
        group.rest();
        state.lanes.retry(group, due);
    }

    /// The first delivery of the group will not be made. Of several it is not known which one it is about, so fewer are
    /// sent next; but where each is tried once only, all that were sent were.
    fn give_up(
        &self,
        state: &mut State,
        mut group: Group,
        answer: &Answer,
        reason: &'static str,
        now: Instant,
        next: &mut Next,
    ) {
        let all_die = reason == reason::RETRIES && self.policy.retry.retries == Retries::Disabled;
        if group.sending_len() > 1 && !all_die {
            group.bisect();
            state.lanes.again(group);
            return;
        }
        let error = answer.text.clone();
        if self.policy.strict {
            // It is kept, and holds the confirmed LSN back: the stream stops.
            let id = state.id_of(&group);
            next.changes.push(Change::MustStop { id, reason, error });
            state.lanes.retry(group, now + self.policy.retry.maximum());
            return;
        }
        if reason == reason::REFUSED {
            state.note_attempts(&group, answer, now);
        }
        for _ in 0..group.sending_len() {
            if let Some(delivery) = state.lanes.done(&mut group) {
                next.changes.push(Change::Died {
                    id: delivery.event.id.clone(),
                    reason,
                    error: error.clone(),
                });
                state.die(delivery, reason);
            }
        }
        group.rest();
        state.lanes.again(group);
    }
}

impl State {
    /// The `webhook-id` of the first delivery of a group.
    fn id_of(&self, group: &Group) -> String {
        group
            .first()
            .map_or_else(String::new, |member| self.lanes.get(member).event.id.clone())
    }

    /// A delivery that has left the lanes is to become a dead letter.
    pub(super) fn die(&mut self, delivery: Delivery, reason: &'static str) {
        self.charge = self.charge.saturating_sub(delivery.charge());
        self.counts.dead += 1;
        self.backlog.dying.push_back(Dying { delivery, reason });
    }

    fn delivered(&mut self, mut group: Group, now: Instant, next: &mut Next) {
        self.window.answered();
        self.delivered_at = Some(SystemTime::now());
        for _ in 0..group.sending_len() {
            if let Some(delivery) = self.lanes.done(&mut group) {
                self.charge = self.charge.saturating_sub(delivery.charge());
                self.counts.delivered += 1;
                self.settle(delivery, now, &mut next.settled);
            }
        }
        group.rest();
        self.lanes.again(group);
        let transition = self.health.succeeded(self.backlog.route == Route::Behind, now);
        self.note(transition, next);
    }

    fn note(&mut self, transition: Option<Transition>, next: &mut Next) {
        if let Some(transition) = transition {
            let change = self.changed(transition);
            next.changes.push(change);
        }
    }

    /// Remembers an attempt that failed with each delivery that was sent.
    fn note_attempts(&mut self, group: &Group, answer: &Answer, now: Instant) {
        let at = SystemTime::now();
        self.counts.failed += 1;
        self.last_error = Some(answer.text.as_str().into());
        for member in group.sending() {
            let delivery = self.lanes.get_mut(member);
            let attempts = delivery.attempts.get_or_insert_default();
            attempts.count = attempts.count.saturating_add(1);
            attempts.first_at.get_or_insert(at);
            attempts.last_at = Some(at);
            attempts.first_error.get_or_insert_with(|| answer.text.clone());
            attempts.last_error = Some(answer.text.clone());
            let attempts = (**attempts).clone();
            if let Some(seq) = delivery.row() {
                self.backlog.touch(seq, attempts, now);
            }
        }
    }

    /// Whether a delivery is still subscribed to, as far as that was asked for.
    fn is_wanted(&self, url: &str, member: Option<Member>) -> bool {
        let (Some(keep), Some(member)) = (&self.backlog.keep, member) else {
            return true;
        };
        let event = &self.lanes.get(member).event;
        !event.origin.needs_subscription() || keep(url, &event.table, event.action)
    }

    /// How often a delivery was tried, and whether another one was delivered since its first try.
    fn standing_of(&self, member: Option<Member>) -> (u32, bool) {
        let Some(attempts) = member.and_then(|member| self.lanes.get(member).attempts.as_ref()) else {
            return (0, false);
        };
        (attempts.count, attempts.first_at < self.delivered_at)
    }
}
