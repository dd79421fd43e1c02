//! The one program inside the VM: PID 1 and agent.
fn main() {}
