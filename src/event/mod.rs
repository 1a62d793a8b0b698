//! The change as it is delivered: model, delivery id, payload encoding.
