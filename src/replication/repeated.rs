//! Whether the same thing goes wrong again and again. Pure.

use pgstream_proto::Lsn;

/// The failure that came last, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    last: Option<(Lsn, String)>,
    times: u32,
}

impl Repeated {
    /// It failed in this way, after everything up to this position was received. How often in a row it has done so.
    pub(super) fn count(&mut self, position: Lsn, failure: &str) -> u32 {
        let is_same = self
            .last
            .as_ref()
            .is_some_and(|(at, last)| *at == position && last == failure);
        if is_same {
            self.times += 1;
        } else {
            self.last = Some((position, failure.to_owned()));
            self.times = 1;
        }
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_at_one_position_is_counted() {
        let mut repeated = Repeated::default();
        let (here, there) = (Lsn::new(1), Lsn::new(2));
        for (position, failure, times) in [
            (here, "too large", 1),
            (here, "too large", 2),
            (there, "too large", 1),
            (there, "something else", 1),
            (there, "too large", 1),
            (there, "too large", 2),
            (there, "too large", 3),
        ] {
            assert_eq!(repeated.count(position, failure), times);
        }
    }
}
