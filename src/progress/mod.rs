//! What is settled, and how many bytes are in flight. Pure.
