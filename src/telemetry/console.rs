//! The log for people.

use std::io;
use std::sync::{LazyLock, Mutex};
use std::time::SystemTime;

use indicatif::MultiProgress;
use slog::{Drain, OwnedKVList, Record};
use slog_term::{FullFormat, TermDecorator};

/// What is drawn at the bottom of the terminal, if anything is: lines of the log go above it.
pub(super) static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes above what is drawn.
struct Above<D>(D);

impl<D: Drain> Drain for Above<D> {
    type Ok = D::Ok;
    type Err = D::Err;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<D::Ok, D::Err> {
        SCREEN.suspend(|| self.0.log(record, values))
    }
}

/// Lines of time (UTC), level, message and fields, to stderr.
pub(super) fn drain(color: bool) -> impl Drain<Ok = (), Err = impl std::fmt::Debug> + Send + Sync {
    let decorator = TermDecorator::new().stderr();
    let decorator = if color {
        decorator.force_color()
    } else {
        decorator.force_plain()
    };
    let format = FullFormat::new(decorator.build())
        .use_custom_timestamp(timestamp)
        .use_original_order()
        .build();
    Above(Mutex::new(format))
}

fn timestamp(output: &mut dyn io::Write) -> io::Result<()> {
    write!(output, "{}", humantime::format_rfc3339_millis(SystemTime::now()))
}
