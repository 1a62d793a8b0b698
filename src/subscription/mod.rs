//! What is subscribed to: model, matcher, cache.
