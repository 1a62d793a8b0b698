//! Lanes, workers and exchanges: from a submitted delivery to its outcome.
