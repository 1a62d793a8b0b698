//! Receivers of webhooks: `listen`, and the one of the demo.
