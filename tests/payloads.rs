//! Suite `payloads`.
