//! The VMM as a process, seen from the other end of its control socket, with guests of a few bytes on real KVM.

mod common;
mod process;
mod saved;
