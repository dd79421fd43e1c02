//! The process around one VM.
fn main() {}
