//! The endpoints that are known at present, by URL.

use std::sync::Arc;

use dashmap::DashMap;

/// One value for each URL. Values are cloned out: no guard of the map leaves this type.
#[derive(Debug)]
pub struct Registry<T> {
    by_url: DashMap<Arc<str>, Arc<T>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self {
            by_url: DashMap::new(),
        }
    }
}

impl<T> Registry<T> {
    /// The value of `url`; made by `make` if it is not known yet.
    pub fn get_or_insert_with(&self, url: &Arc<str>, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.by_url.get(url) {
            return Arc::clone(&known);
        }
        Arc::clone(
            &self
                .by_url
                .entry(Arc::clone(url))
                .or_insert_with(|| Arc::new(make())),
        )
    }

    /// The value of `url`, if it is known.
    #[must_use]
    pub fn get(&self, url: &str) -> Option<Arc<T>> {
        self.by_url.get(url).map(|known| Arc::clone(&known))
    }

    /// Sets the value of `url`.
    pub fn insert(&self, url: &Arc<str>, value: T) {
        self.by_url.insert(Arc::clone(url), Arc::new(value));
    }

    /// Forgets the URLs that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.by_url.retain(|url, _| keep(url));
    }

    /// All values, in no particular order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<T>> {
        self.by_url
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }
}
