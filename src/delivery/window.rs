//! How many requests an endpoint may have in flight: its window. Pure.

/// Starts with one request, grows with success, shrinks on timeouts, up to the endpoint's in-flight limit.
///
/// So an endpoint that hangs from the start holds one worker, not its whole limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    size: usize,
    limit: usize,
}

impl Window {
    /// The window of an endpoint with this in-flight limit.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self { size: 1, limit }
    }

    /// How many requests may be in flight now: at least one.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The endpoint's in-flight limit has changed.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
        self.size = self.size.min(self.limit);
    }

    /// A request was answered: one more may be in flight, which doubles the window with each full round of answers.
    pub fn answered(&mut self) {
        self.size = (self.size + 1).min(self.limit);
    }

    /// The endpoint has to show that it works: one request at a time, until it answers.
    pub fn collapse(&mut self) {
        self.size = 1;
    }

    /// A request timed out: half as many may be in flight.
    pub fn timed_out(&mut self) {
        self.size = (self.size / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_limit_and_shrinks_to_one() {
        let mut window = Window::new(64);
        assert_eq!(window.size(), 1);
        for _ in 0..100 {
            window.answered();
        }
        assert_eq!(window.size(), 64);
        let sizes: Vec<usize> = std::iter::repeat_with(|| {
            window.timed_out();
            window.size()
        })
        .take(8)
        .collect();
        assert_eq!(sizes, [32, 16, 8, 4, 2, 1, 1, 1]);
    }

    #[test]
    fn a_collapsed_window_grows_again_with_answers() {
        let mut window = Window::new(64);
        window.collapse();
        assert_eq!(window.size(), 1);
        window.answered();
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn never_exceeds_a_small_limit() {
        assert_eq!(Window::new(1).size(), 1);
        assert_eq!(Window::new(0).size(), 1);
    }
}
