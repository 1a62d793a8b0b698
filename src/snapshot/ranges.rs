//! How a table is cut into ranges of pages.
//!
//! Pure. Ranges are there for parallelism, not to go on from: rows may move from one range into another between two
//! snapshots.

use super::model::{PageRange, Relation};

/// The ranges of a table, each of about so many bytes on disk, what is stored out of line included. They follow each other
/// without a gap, and the last one has no end: of what is appended meanwhile nothing can be seen.
pub(super) fn ranges(table: &Relation, bytes: u64) -> Vec<PageRange> {
    let pages = table.pages.max(1);
    let count = table.bytes.div_ceil(bytes.max(1)).clamp(1, pages);
    let first = |range: u64| {
        u64::try_from(u128::from(pages) * u128::from(range) / u128::from(count)).unwrap_or(pages)
    };
    (0..count)
        .map(|range| PageRange {
            first: first(range),
            end: (range + 1 < count).then(|| first(range + 1)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(pages: u64, bytes: u64) -> Relation {
        Relation {
            pages,
            bytes,
            ..Relation::sample("s", "t")
        }
    }

    #[test]
    fn what_is_stored_out_of_line_counts() {
        let range = |first, end| PageRange { first, end };
        assert_eq!(ranges(&table(0, 0), 100), [range(0, None)]);
        assert_eq!(ranges(&table(10, 81_920), 81_920), [range(0, None)]);
        assert_eq!(
            ranges(&table(10, 81_920), 40_960),
            [range(0, Some(5)), range(5, None)]
        );
        assert_eq!(ranges(&table(2, 1 << 30), 1), [range(0, Some(1)), range(1, None)]);
        assert_eq!(
            ranges(&table(10, 819_200), 409_600),
            [range(0, Some(5)), range(5, None)]
        );
    }

    proptest! {
        #[test]
        fn every_page_is_in_one_range(pages in 0_u64..5_000, bytes in 0_u64..1 << 40, size in 1_u64..1 << 30) {
            let ranges = ranges(&table(pages, bytes), size);
            prop_assert_eq!(ranges[0].first, 0);
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].end, Some(pair[1].first));
                prop_assert!(pair[0].first < pair[1].first);
            }
            prop_assert_eq!(ranges.last().unwrap().end, None);
        }
    }
}
