//! ReadyForQuery: the server waits for a query.

use crate::DecodeError;
use crate::reader::Reader;

/// The server waits for a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyForQuery {
    /// Whether we are in a transaction.
    pub status: TransactionStatus,
}

/// Whether the connection is in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction (`I`).
    Idle,
    /// In a transaction (`T`).
    InTransaction,
    /// In a transaction that failed; until its end every query is refused (`E`).
    Failed,
}

impl ReadyForQuery {
    pub(super) fn decode(body: &mut Reader) -> Result<Self, DecodeError> {
        let status = match body.u8("status")? {
            b'I' => TransactionStatus::Idle,
            b'T' => TransactionStatus::InTransaction,
            b'E' => TransactionStatus::Failed,
            other => return Err(body.invalid("status", other)),
        };
        Ok(ReadyForQuery { status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendMessage;
    use crate::codec::tests::decode_one;

    #[test]
    fn literal_bytes() {
        for (frame, status) in [
            (b"Z\0\0\0\x05I", TransactionStatus::Idle),
            (b"Z\0\0\0\x05T", TransactionStatus::InTransaction),
            (b"Z\0\0\0\x05E", TransactionStatus::Failed),
        ] {
            assert_eq!(
                decode_one(frame).unwrap(),
                BackendMessage::ReadyForQuery(ReadyForQuery { status })
            );
        }
    }
}
