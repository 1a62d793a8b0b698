//! The blocking side: connections and exchanges. The only room that knows ureq.
//!
//! A [`Slot`] is a ureq agent that holds one idle connection to one endpoint; [`Slots`] are those of one endpoint.
//! [`exchange`] makes one POST on a slot and says what came of it. [`Names`] looks host names up, with a deadline and
//! a memory.
//!
//! An agent shared by all endpoints would search its idle connections linearly, twice over; one agent for each worker
//! would open workers × endpoints connections. Hence slots.

mod exchange;
mod names;
mod probe;
mod slot;

pub(super) use exchange::{Answer, exchange};
pub(super) use names::Names;
pub(super) use slot::{Connections, Slot, Slots};
