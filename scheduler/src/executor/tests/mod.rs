//! The executor on a fake engine, whose every step waits for the test's permission: no sleeping, no guessing.

mod ending;
mod fake;
mod hanging;
mod running;
mod waiting;
