//! A figure that somebody measures and somebody else shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes, or of whatever, that may not be known. Its copies are one.
#[derive(Debug, Clone)]
pub struct Figure(Arc<AtomicU64>);

/// Stands for a number that is not known.
const UNKNOWN: u64 = u64::MAX;

impl Default for Figure {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(UNKNOWN)))
    }
}

impl Figure {
    /// It is so much now, or not known any more.
    pub fn set(&self, value: Option<u64>) {
        self.0.store(value.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// What it was last.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unknown_until_it_is_set() {
        let figure = Figure::default();
        let shown = figure.clone();
        assert_eq!(shown.get(), None);
        figure.set(Some(0));
        assert_eq!(shown.get(), Some(0));
        figure.set(None);
        assert_eq!(shown.get(), None);
    }
}
