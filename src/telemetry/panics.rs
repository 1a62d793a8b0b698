//! Panics as lines of the log: where that is for machines, nothing else may stand between its lines.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::thread;

use slog::{Logger, crit};

/// Has every panic of the process logged instead of printed.
pub(super) fn log(log: Logger) {
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        // Where RUST_BACKTRACE asks for it.
        let is_captured = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = is_captured.then(|| backtrace.to_string());
        crit!(log, "a thread panicked, which is a fault of pgstream"; "event" => "panic",
            "thread" => thread::current().name().unwrap_or_default(), "place" => place, "panic" => words(info.payload()),
            "backtrace" => backtrace);
    }));
}

/// What was said with it.
fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_found() {
        assert_eq!(words(&"literal"), "literal");
        assert_eq!(words(&"formatted".to_owned()), "formatted");
        assert_eq!(words(&7_u8), "no words");
    }
}
