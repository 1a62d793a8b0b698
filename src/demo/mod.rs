//! The demonstration: a throwaway PostgreSQL and a short story of changes.
