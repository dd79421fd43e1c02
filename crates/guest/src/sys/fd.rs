//! Reading, writing and making descriptors.

use super::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The console, which the kernel opens as standard error of PID 1.
// SAFETY: no role closes its standard error; a test has one as well.
pub const CONSOLE: BorrowedFd<'static> = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };

/// A pipe whose ends close on exec: (read end, write end). Both block.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors the kernel writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call succeeded, so both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Opens a path. `O_CLOEXEC` is added: nothing of ours may leak into a workload.
pub fn open(path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: `path` is a C string; without O_CREAT there is no third argument.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a name in a directory that no path may lead to.
pub fn open_in(directory: &impl AsFd, name: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string; without O_CREAT there is no further argument.
    let fd =
        check(unsafe { libc::openat(raw(directory), name.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a directory in a directory that no path may lead to.
pub fn make_directory_in(directory: &impl AsFd, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a C string.
    check(unsafe { libc::mkdirat(raw(directory), name.as_ptr(), 0o755) }).map(drop)
}

/// Makes a file that is not there yet, opened for writing.
pub fn create(path: &CStr, mode: libc::mode_t) -> io::Result<OwnedFd> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: `path` is a C string; the mode is the third argument that O_CREAT wants.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags, mode) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file in memory that has no name and goes with its descriptor.
pub fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string, for people who look into /proc.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A standard stream of a worker, which has these to itself.
pub fn standard(number: RawFd) -> std::fs::File {
    // SAFETY: a worker's standard streams are open, and it takes each of them once.
    unsafe { std::fs::File::from_raw_fd(number) }
}

/// Makes reads and writes return instead of wait.
pub fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: F_SETFL takes an integer and touches no memory of ours. A pipe end has no other status
    // flag that this could clear.
    check(unsafe { libc::fcntl(raw(fd), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// Reads what is there, at most a bufferful; 0 at the end.
pub fn read(fd: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into it.
    let count = unsafe { libc::read(raw(fd), buffer.as_mut_ptr().cast(), buffer.len()) };
    check(count).map(isize::cast_unsigned)
}

/// Reads at an offset.
pub fn read_at(fd: &impl AsFd, buffer: &mut [u8], offset: i64) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into it.
    let count = unsafe { libc::pread(raw(fd), buffer.as_mut_ptr().cast(), buffer.len(), offset) };
    check(count).map(isize::cast_unsigned)
}

/// Goes to the end of a file.
pub fn seek_to_end(file: &impl AsFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::lseek(raw(file), 0, libc::SEEK_END) }).map(drop)
}

/// Writes as much as goes in.
pub fn write(fd: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel only reads `bytes`.
    let count = unsafe { libc::write(raw(fd), bytes.as_ptr().cast(), bytes.len()) };
    check(count).map(isize::cast_unsigned)
}

/// Writes the whole contents of a kernel parameter: at the start, because the kernel ignores what is written
/// behind it.
pub fn write_parameter(fd: &impl AsFd, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel only reads `value`.
    let count = unsafe { libc::pwrite(raw(fd), value.as_ptr().cast(), value.len(), 0) };
    check(count).map(drop)
}

/// Waits until a terminal has sent everything.
pub fn wait_until_sent(terminal: &impl AsFd) {
    // SAFETY: no memory is involved. Anything but a terminal has nothing to send.
    unsafe { libc::tcdrain(raw(terminal)) };
}

/// How many bytes a pipe holds.
pub fn bytes_waiting(pipe: &impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    check(unsafe { libc::ioctl(raw(pipe), libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

pub(super) fn raw(fd: &impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}
