//! The log for people.

use std::io;
use std::sync::Mutex;
use std::time::SystemTime;

use slog::Drain;
use slog_term::{FullFormat, TermDecorator};

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
    Mutex::new(format)
}

fn timestamp(output: &mut dyn io::Write) -> io::Result<()> {
    write!(output, "{}", humantime::format_rfc3339_millis(SystemTime::now()))
}
