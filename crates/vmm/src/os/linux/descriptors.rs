//! Room for descriptors.

use std::io::Stdin;

/// As many as a VM with a few hundred connections has.
const DESCRIPTORS: i32 = 512;

/// Makes the process's table of descriptors as large as it will have to be. To be called while there is one thread.
///
/// The kernel gives a process room for 64 and doubles it when that is full. In a process of several threads it then
/// waits until none of them can still see the old table (`synchronize_rcu` in `expand_fdtable`): 12 ms, in the middle of
/// a start.
pub fn make_room(any: &Stdin) {
    // Under a limit that is lower, the table grows as it does anywhere.
    drop(rustix::io::fcntl_dupfd_cloexec(any, DESCRIPTORS - 1));
}
