//! From a record to deliveries: filter, match, encode, submit.
