//! Suite `ddl`.
