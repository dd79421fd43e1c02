//! Pseudo-terminals of the instance of devpts the caller sees.

use super::{check, fd::raw};
use proto::session::WindowSize;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A fresh terminal: (our end, the program's end). Neither becomes anybody's controlling terminal by being opened.
pub fn open(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = super::fd::open(c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY)?;
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(raw(&ours), libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // Not by its name in /dev/pts: an image may have put something else there.
    // SAFETY: TIOCGPTPEER takes flags as its argument and touches no memory.
    let fd = check(unsafe { libc::ioctl(raw(&ours), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel just gave us this descriptor.
    let theirs = unsafe { OwnedFd::from_raw_fd(fd) };
    resize(&ours, size)?;
    Ok((ours, theirs))
}

/// Changes the size. The kernel sends SIGWINCH to the foreground process group if that is news.
pub fn resize(terminal: &OwnedFd, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(raw(terminal), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// The character that means the end of the input, if the program reads lines; one that reads characters knows no end.
pub fn end_of_file(terminal: &OwnedFd) -> Option<u8> {
    // SAFETY: a termios is integers; zero is valid for all of them.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel's answer for our end is that of the program's; glibc writes one termios.
    check(unsafe { libc::tcgetattr(raw(terminal), &raw mut modes) }).ok()?;
    (modes.c_lflag & libc::ICANON != 0).then_some(modes.c_cc[libc::VEOF])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn a_terminal_has_its_size_and_translates_line_ends() {
        let size = WindowSize {
            rows: 7,
            columns: 33,
        };
        let (ours, theirs) = open(size).unwrap();
        // SAFETY: a winsize is integers; zero is valid for all of them.
        let mut seen: libc::winsize = unsafe { std::mem::zeroed() };
        // SAFETY: TIOCGWINSZ writes one winsize.
        check(unsafe { libc::ioctl(raw(&theirs), libc::TIOCGWINSZ, &raw mut seen) }).unwrap();
        assert_eq!((seen.ws_row, seen.ws_col), (7, 33));
        assert_eq!(end_of_file(&ours), Some(4));
        File::from(theirs).write_all(b"a\n").unwrap();
        let mut buffer = [0; 8];
        let count = File::from(ours).read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"a\r\n");
    }
}
