//! Builds, tests and measures supermachine.
fn main() {}
