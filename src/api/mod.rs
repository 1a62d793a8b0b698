//! The subscription server.
