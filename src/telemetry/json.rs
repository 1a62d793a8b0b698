//! The log for machines: one JSON object a line.

use std::io::{BufWriter, Write};
use std::sync::Mutex;
use std::time::SystemTime;

use slog::{Drain, FnValue, Level, PushFnValue, Record, o};
use slog_json::Json;

/// Objects of `ts` (RFC 3339, UTC), `level`, `msg` and the fields, each written in one piece.
pub(super) fn drain(
    output: impl Write + Send,
) -> impl Drain<Ok = (), Err = impl std::fmt::Debug> + Send + Sync {
    let header = o!(
        "ts" => FnValue(|_: &Record| humantime::format_rfc3339_micros(SystemTime::now()).to_string()),
        "level" => FnValue(|record: &Record| level_name(record.level())),
        "msg" => PushFnValue(|record: &Record, serializer| serializer.emit(record.msg())),
    );
    Mutex::new(
        Json::new(BufWriter::new(output))
            .add_key_value(header)
            .set_flush(true)
            .build(),
    )
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use slog::{Logger, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_an_object_with_time_level_message_and_fields() {
        let memory = Memory::default();
        let drain: super::super::buffered::LineDrain = Box::new(drain(memory.clone()).ignore_res());
        let log = Logger::root(Arc::new(Mutex::new(drain)).ignore_res(), o!("slot" => "s"));
        warn!(log, "reading \"{}\" paused", "x\ny"; "bytes" => 7_u64);

        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["msg"], "reading \"x\ny\" paused");
        assert_eq!((&line["slot"], &line["bytes"]), (&"s".into(), &7.into()));
        assert!(
            humantime::parse_rfc3339(line["ts"].as_str().unwrap()).is_ok(),
            "{text}"
        );
    }
}
