//! What no file of the parser can be tested for alone: whole records.

mod captured;
mod generated;
mod grammar;
mod oracle;
mod reference;

use super::{Action, Columns, Header, JsonStr, KeyColumns, MAX_COLUMNS, MAX_DEPTH};
use super::{Parser, Problem, Record, header};
