//! Suite `delivery`.
