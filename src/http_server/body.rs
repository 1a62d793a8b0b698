//! Reading a request's body within its bounds.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use thiserror::Error;
use tokio::time::timeout;

use super::limits::Limits;

/// Why a body was not read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// It has more bytes than [`Limits::body_bytes`].
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// The most bytes allowed.
        limit: usize,
    },
    /// It was not complete within [`Limits::body`].
    #[error("the body was not complete within {} seconds", limit.as_secs())]
    TooSlow {
        /// The time allowed.
        limit: std::time::Duration,
    },
    /// The connection broke, or the framing is wrong.
    #[error("the body could not be read: {0}")]
    Broken(String),
}

/// Reads a body, counting its bytes as they come: a chunked body does not say how long it is, and a body
/// that does may lie.
///
/// # Errors
/// [`BodyError`] as soon as a bound is passed; what is left of the body is not read.
pub async fn read_body<C: Buf, E: std::fmt::Display>(
    chunks: impl Stream<Item = Result<C, E>>,
    limits: &Limits,
) -> Result<Bytes, BodyError> {
    let limit = limits.body_bytes;
    let whole = async {
        let mut chunks = std::pin::pin!(chunks);
        let mut body = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let mut chunk = chunk.map_err(|error| BodyError::Broken(error.to_string()))?;
            if chunk.remaining() > limit - body.len() {
                return Err(BodyError::TooLarge { limit });
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                body.extend_from_slice(part);
                let read = part.len();
                chunk.advance(read);
            }
        }
        Ok(body.freeze())
    };
    timeout(limits.body, whole)
        .await
        .unwrap_or(Err(BodyError::TooSlow { limit: limits.body }))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 1,
        head: Duration::from_secs(5),
        body: Duration::from_millis(20),
        body_bytes: 8,
        write: Duration::from_secs(10),
        grace: Duration::from_secs(2),
    };

    #[tokio::test]
    async fn the_limit_counts_all_chunks() {
        let chunks = |count: usize| stream::iter(vec![Ok::<_, Infallible>(&b"1234"[..]); count]);
        assert_eq!(read_body(chunks(0), &LIMITS).await.unwrap(), "");
        assert_eq!(read_body(chunks(2), &LIMITS).await.unwrap(), "12341234");
        let error = read_body(chunks(3), &LIMITS).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { limit: 8 }), "{error}");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let chunks = stream::pending::<Result<&[u8], Infallible>>();
        let error = read_body(chunks, &LIMITS).await.unwrap_err();
        assert!(matches!(error, BodyError::TooSlow { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error() {
        let chunks = stream::iter([Ok(&b"1"[..]), Err("reset")]);
        let error = read_body(chunks, &LIMITS).await.unwrap_err();
        assert!(error.to_string().contains("reset"), "{error}");
    }
}
