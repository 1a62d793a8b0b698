//! Progress bars of tables that are being read, on a terminal.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::interval;

use crate::snapshot::{TableProgress, Watch};
use crate::telemetry::{self, LogFormat};

/// How often they are drawn.
const INTERVAL: Duration = Duration::from_millis(200);

/// A table on disk has about so many bytes as its rows have in the text of COPY: only its pages are known before it is read.
const OF_TABLE: &str = "{prefix:24!} {bar:28} {percent:>3}%  {msg}  {binary_bytes_per_sec}  {eta} left";
const OF_ALL: &str = "{prefix:24!} {msg}, {elapsed}";

/// Draws how far the reading is for as long as it is polled, where there is a terminal to draw on; then wipes it away.
pub(super) async fn draw(watch: Watch, format: LogFormat) -> Infallible {
    let Some(screen) = telemetry::screen(format) else {
        return std::future::pending().await;
    };
    let mut bars = Bars::new(screen);
    let mut ticks = interval(INTERVAL);
    loop {
        ticks.tick().await;
        bars.show(&watch.tables());
    }
}

struct Bars<'a> {
    screen: &'a MultiProgress,
    all: ProgressBar,
    tables: HashMap<(u32, i64), ProgressBar>,
    /// Rows and bytes of tables that have been read.
    read: (u64, u64),
    /// What was seen last of those that are being read.
    seen: HashMap<(u32, i64), TableProgress>,
}

impl<'a> Bars<'a> {
    fn new(screen: &'a MultiProgress) -> Self {
        let all = screen.add(ProgressBar::no_length().with_style(style(OF_ALL)));
        all.set_prefix("all tables");
        Self {
            screen,
            all,
            tables: HashMap::new(),
            read: (0, 0),
            seen: HashMap::new(),
        }
    }

    fn show(&mut self, tables: &[TableProgress]) {
        let is_read = |key: &(u32, i64)| tables.iter().all(|table| table.key != *key);
        for (key, table) in self.seen.extract_if(|key, _| is_read(key)) {
            self.read.0 += table.rows;
            self.read.1 += table.bytes;
            if let Some(bar) = self.tables.remove(&key) {
                bar.finish_and_clear();
                self.screen.remove(&bar);
            }
        }
        let (mut rows, mut bytes) = self.read;
        for table in tables {
            rows += table.rows;
            bytes += table.bytes;
            let bar = self.tables.entry(table.key).or_insert_with(|| {
                let bar = ProgressBar::new(table.total_bytes).with_style(style(OF_TABLE));
                bar.set_prefix(table.name.clone());
                self.screen.insert_before(&self.all, bar)
            });
            // By the ranges of pages that are read: what the rows will come to is not known.
            bar.set_position(table.done_bytes());
            bar.set_message(format!("{} rows", table.rows));
            self.seen.insert(table.key, table.clone());
        }
        let bytes = indicatif::BinaryBytes(bytes);
        self.all.set_message(format!("{rows} rows, {bytes}"));
    }
}

impl Drop for Bars<'_> {
    fn drop(&mut self) {
        for bar in self.tables.values() {
            bar.finish_and_clear();
        }
        self.all.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants, and drawn in a test.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use indicatif::{InMemoryTerm, ProgressDrawTarget};

    use super::*;

    #[test]
    fn each_table_has_a_bar_and_all_of_them_a_sum() {
        let terminal = InMemoryTerm::new(10, 120);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 200);
        let screen = MultiProgress::with_draw_target(target);
        let mut bars = Bars::new(&screen);
        let table = |oid, name: &str, rows| TableProgress {
            key: (oid, 0),
            name: name.to_owned(),
            rows,
            bytes: rows * 1024,
            ranges: 1,
            all_ranges: 4,
            total_bytes: 4 << 20,
        };
        // Drawn at most every few milliseconds.
        let mut until = |tables: &[TableProgress], expected: &[&str]| {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                bars.show(tables);
                let drawn = terminal.contents();
                if expected.iter().all(|text| drawn.contains(text)) {
                    return drawn;
                }
                assert!(Instant::now() < deadline, "{drawn}");
                std::thread::yield_now();
            }
        };
        let both = [table(1, "public.large", 1000), table(2, "public.small", 24)];
        until(
            &both,
            &["public.large", "25%", "1000 rows", "1024 rows, 1.00 MiB"],
        );
        let drawn = until(&[table(1, "public.large", 2000)], &["2024 rows"]);
        assert!(!drawn.contains("small"), "{drawn}");
    }
}
