//! Random bytes of the host's kernel.

use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{self, Read};

/// getrandom(2). The pool of a host that runs VMs has long been initialized, so it does not block.
pub struct HostEntropy;

impl Read for HostEntropy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(getrandom(buffer, GetRandomFlags::empty())?)
    }
}
