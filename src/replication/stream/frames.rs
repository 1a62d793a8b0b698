//! What becomes of the frames of a stream.

use std::time::Instant;

use futures_util::{FutureExt, StreamExt};
use pgstream_proto::BackendMessage;
use pgstream_proto::replication::ReplicationMessage;
use slog::trace;

use super::{Live, StreamError};
use crate::replication::intake::Intake;
use crate::replication::{ReplicationError, ServerError};

/// How many frames are taken in before what they caused is passed on.
const MAX_BATCH_FRAMES: usize = 64;
/// How many bytes are.
const MAX_BATCH_BYTES: usize = 256 * 1024;

impl Live {
    /// Takes in this frame and those that follow it without waiting, then has the intake pass them on.
    pub(super) fn take_batch<I: Intake>(
        &mut self,
        first: BackendMessage,
        intake: &mut I,
    ) -> Result<(), StreamError<I::Error>> {
        let heard = Instant::now();
        self.feedback.heard(heard);
        let mut frame = first;
        let mut bytes = 0;
        for taken in 1.. {
            bytes += self.take_frame(frame, intake)?;
            if taken == MAX_BATCH_FRAMES || bytes >= MAX_BATCH_BYTES || !intake.is_ready() {
                break;
            }
            let Some(next) = self.connection.framed.next().now_or_never() else {
                break;
            };
            frame = next
                .ok_or(ReplicationError::Closed)?
                .map_err(ReplicationError::from)?;
        }
        intake.flush();
        self.vitals.heard(self.received, self.wal_end, heard);
        Ok(())
    }

    /// Takes in one frame; returns its size.
    fn take_frame<I: Intake>(
        &mut self,
        frame: BackendMessage,
        intake: &mut I,
    ) -> Result<usize, StreamError<I::Error>> {
        let payload = match frame {
            BackendMessage::CopyData(payload) => payload,
            BackendMessage::NoticeResponse(fields) => {
                self.vitals.notice(self.notices.notice(&fields));
                return Ok(0);
            }
            BackendMessage::ParameterStatus(_) | BackendMessage::NotificationResponse(_) => return Ok(0),
            // What a server says that is shut down.
            BackendMessage::CopyDone | BackendMessage::CommandComplete(_) => {
                return Err(ReplicationError::Closed.into());
            }
            BackendMessage::ErrorResponse(fields) => {
                let error = Box::new(ServerError::from(&fields));
                return Err(ReplicationError::Server {
                    what: "to go on streaming".to_owned(),
                    error,
                }
                .into());
            }
            other => {
                return Err(ReplicationError::Unexpected {
                    message: other.name(),
                    expected: "CopyData",
                }
                .into());
            }
        };
        let size = payload.len();
        match ReplicationMessage::decode(payload).map_err(ReplicationError::from)? {
            ReplicationMessage::XLogData(record) => {
                trace!(self.log, "record"; "wal_start" => %record.wal_start, "bytes" => size);
                self.received = self.received.max(record.wal_start);
                self.wal_end = self.wal_end.max(record.wal_end);
                intake.record(record).map_err(StreamError::Intake)?;
            }
            ReplicationMessage::PrimaryKeepalive(keepalive) => {
                trace!(self.log, "keepalive"; "wal_end" => %keepalive.wal_end,
                    "reply_requested" => keepalive.reply_requested);
                self.received = self.received.max(keepalive.wal_end);
                self.wal_end = self.wal_end.max(keepalive.wal_end);
                intake.keepalive(keepalive.wal_end);
                if keepalive.reply_requested {
                    self.feedback.asked(!intake.is_settled());
                }
            }
        }
        Ok(size)
    }
}
