//! The first byte of a message of ours.

/// Which message it is. StartupMessage and SSLRequest have none: they come before the protocol version is agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    CopyData = b'd',
    CopyDone = b'c',
    /// PasswordMessage, SASLInitialResponse and SASLResponse: the server knows which of them it waits for.
    Password = b'p',
    Query = b'Q',
    Terminate = b'X',
}
