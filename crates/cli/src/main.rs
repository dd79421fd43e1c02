//! The command line of supermachine.
#![forbid(unsafe_code)]
fn main() {}
