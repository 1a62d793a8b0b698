//! Suite `resume`.
