//! What the stream hands its records to.

use std::future::Future;

use pgstream_proto::Lsn;
use pgstream_proto::replication::XLogData;

use super::history::Identity;

/// How far a stream was read when its connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted {
    /// The end of the last transaction, or message outside of one, that was taken in as a whole, or a position that the server
    /// reported behind it.
    pub received: Lsn,
    /// The end of the transaction that was being read, if it has told it.
    pub transaction_end: Option<Lsn>,
}

/// Takes the records of a stream in, and knows how far they are settled.
pub trait Intake {
    /// Why it cannot go on.
    type Error: std::error::Error + Send + 'static;

    /// Resolves when the next record may be handed over. Until then the stream does not read.
    ///
    /// Cancel-safe: the stream drops the future whenever something else is to be done, and asks again.
    fn ready(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether [`ready`](Self::ready) would resolve at once.
    fn is_ready(&self) -> bool;

    /// Takes one record. Only called while it is ready.
    fn record(&mut self, record: XLogData) -> Result<(), Self::Error>;

    /// The server has sent everything up to `wal_end`.
    fn keepalive(&mut self, wal_end: Lsn);

    /// No more can be read without waiting: what was taken in is to be passed on now.
    fn flush(&mut self);

    /// The connection was lost. The next record is the one behind [`Interrupted::received`]; of a transaction that was being
    /// read, what was taken in already comes again first.
    fn interrupted(&mut self) -> Interrupted;

    /// There is a connection again. The source has this identity; where that is another timeline, the one before ended at
    /// `branched_off`.
    ///
    /// # Errors
    /// Where what was known of the old timeline keeps it from going on.
    fn resumed(&mut self, identity: Identity, branched_off: Option<Lsn>) -> Result<(), Self::Error>;

    /// The stream ends: nothing more comes, what was begun is not completed.
    fn end(&mut self);

    /// Sees to it that all that is settled may be confirmed, if that can be done soon. Only called at the end.
    fn part(&mut self) -> impl Future<Output = ()> + Send;

    /// The position that may be confirmed to the server.
    fn confirmed(&mut self) -> Lsn;

    /// Whether every transaction that was read to its commit is settled.
    fn is_settled(&mut self) -> bool;
}
