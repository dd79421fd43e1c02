//! Randomness as a process that has just begun finds it.

use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// The entry of the auxiliary vector that points to 16 bytes the kernel chose for this process (`linux/auxvec.h`).
const AT_RANDOM: u64 = 25;

/// From the device, from the system call, from the kernel's gift to the process, and a UUID.
pub fn all() -> io::Result<Vec<Vec<u8>>> {
    let mut device = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut device)?;
    let mut call = [0; 16];
    getrandom(&mut call, GetRandomFlags::empty())?;
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(vec![
        device.to_vec(),
        call.to_vec(),
        given()?.to_vec(),
        uuid.trim().as_bytes().to_vec(),
    ])
}

fn given() -> io::Result<[u8; 16]> {
    let vector = fs::read("/proc/self/auxv")?;
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    let mut entries = vector
        .chunks_exact(16)
        .map(|entry| (word(&entry[..8]), word(&entry[8..])));
    let (_, address) = entries
        .find(|entry| entry.0 == AT_RANDOM)
        .ok_or_else(|| io::Error::other("no AT_RANDOM"))?;
    let mut bytes = [0; 16];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, address)?;
    Ok(bytes)
}
