//! The only room that knows sqlx: migrations and one file for each table.
