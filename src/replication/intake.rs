//! What the stream hands its records to.

use std::future::Future;

use pgstream_proto::Lsn;
use pgstream_proto::replication::XLogData;

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

    /// The stream ends: nothing more comes, what was begun is not completed.
    fn end(&mut self);

    /// The position that may be confirmed to the server.
    fn confirmed(&mut self) -> Lsn;

    /// Whether every transaction that was read to its commit is settled.
    fn is_settled(&mut self) -> bool;
}
