//! The kernel, as far as the standard library does not reach. All `unsafe` of this crate is in here.

pub mod epoll;
pub mod fd;
pub mod ioctl;
pub mod mount;
pub mod process;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod system;
pub mod terminal;

use std::io;

/// The kernel's answer to a call that returns -1 and sets `errno`.
fn check<T: Copy + PartialEq + From<i8>>(answer: T) -> io::Result<T> {
    if answer == T::from(-1) {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// The error number of an error that came from the kernel, or 0.
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Whether a call on a non-blocking descriptor would have had to wait.
pub fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
