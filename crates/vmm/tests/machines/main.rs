//! The VMM as a process, seen from the other end of its control socket, with guests of a few bytes on real KVM, and one whose program
//! looks after every register.

mod common;
mod process;
mod registers;
mod saved;
