//! The parser never panics, its spans lie within the record, and what it accepts serde_json accepts with equal
//! values. What that means in detail is the oracle of the parser's own tests.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgstream_proto::wal2json::{Action, Columns, Header, JsonStr, KeyColumns, Parser, Record, header};

#[path = "../../proto/src/wal2json/tests/oracle.rs"]
mod oracle;
#[path = "../../proto/src/wal2json/tests/reference.rs"]
mod reference;

fuzz_target!(|record: &[u8]| oracle::check(&mut Parser::new(), record));
