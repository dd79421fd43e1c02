//! Disks that came after the kernel looked: their slots were empty at the template point.
//!
//! A host announces a disk's size before it lets the machine go on, and the kernel takes notice in a worker of its own.
//! The request to mount may be faster. The kernel sends no uevent when an empty disk gets its first size
//! (`set_capacity_and_notify` of 6.1), but it writes a line to its log, and that can be waited for.

use crate::failure::{Context, failure};
use crate::init::mounts::mount_on;
use crate::sys::mount::Restrictions;
use crate::sys::{fd, socket};
use proto::session::{Failure, FailureKind};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long the kernel has to take notice of a disk: it takes a millisecond.
const NOTICE_TAKES: Duration = Duration::from_secs(2);

/// A file system on a disk.
#[derive(Debug)]
pub struct OnDisk {
    /// Its device.
    pub device: &'static CStr,
    /// The device's size in sectors, as sysfs shows it.
    pub size: &'static CStr,
    /// What the disk is for.
    pub role: &'static str,
    /// Type of the file system.
    pub kind: &'static CStr,
    /// How it is mounted.
    pub restrictions: Restrictions,
    /// With which options.
    pub options: &'static CStr,
}

/// The kernel's log, from the template point on.
#[derive(Debug)]
pub struct Disks {
    log: OwnedFd,
}

impl Disks {
    /// Opens the log at its end.
    pub fn open() -> io::Result<Self> {
        let log = fd::open(c"/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK)?;
        fd::seek_to_end(&log)?;
        Ok(Self { log })
    }

    /// Mounts a disk, once it is there.
    pub fn mount(&self, disk: &OnDisk, target: &CStr) -> Result<(), Failure> {
        let mount = || {
            mount_on(
                disk.device,
                target,
                disk.kind,
                disk.restrictions,
                disk.options,
            )
        };
        once_it_is_there(mount, || self.wait_for(disk))?
            .failing(FailureKind::Mount, || format!("mount {}", disk.name()))
    }

    fn wait_for(&self, disk: &OnDisk) -> Result<(), Failure> {
        let until = Instant::now() + NOTICE_TAKES;
        while is_empty(disk.size) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failure(
                    FailureKind::Mount,
                    format!("mount {}: the disk is empty", disk.name()),
                ));
            }
            let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
            socket::wait_for_either(&self.log, &self.log, timeout)
                .failing(FailureKind::System, || "wait for the kernel's log".into())?;
            self.read_log();
        }
        Ok(())
    }

    /// To the end, one line a read. A line that was overwritten meanwhile is an error that the next read is free of.
    fn read_log(&self) {
        let mut line = [0; 1024];
        loop {
            match fd::read(&self.log, &mut line) {
                Ok(1..) => {}
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                _ => return,
            }
        }
    }
}

/// Tries first, which is cheaper than looking first. What failed is tried again even if the disk is there by now: it may
/// have come between the try and the look.
fn once_it_is_there(
    mut mount: impl FnMut() -> io::Result<()>,
    wait: impl FnOnce() -> Result<(), Failure>,
) -> Result<io::Result<()>, Failure> {
    if mount().is_ok() {
        return Ok(Ok(()));
    }
    wait()?;
    Ok(mount())
}

impl OnDisk {
    fn name(&self) -> String {
        format!(
            "{} {} ({})",
            self.role,
            self.device.to_string_lossy(),
            self.kind.to_string_lossy()
        )
    }
}

/// A disk that is not there at all is not one that will get a size.
fn is_empty(size: &CStr) -> bool {
    let mut text = [0; 32];
    fd::open(size, libc::O_RDONLY)
        .and_then(|file| fd::read(&file, &mut text))
        .is_ok_and(|length| text[..length].trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_disk_that_comes_between_the_try_and_the_look_is_mounted() {
        let mut tries = 0;
        let mount = || {
            tries += 1;
            if tries == 1 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            Ok(())
        };
        let there_already = || Ok(());
        assert!(once_it_is_there(mount, there_already).unwrap().is_ok());
        assert_eq!(tries, 2);
    }

    #[test]
    fn only_a_size_of_zero_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("size");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        assert!(!is_empty(&name), "no such disk");
        for (size, expected) in [("0\n", true), ("8\n", false), ("100\n", false)] {
            std::fs::write(&path, size).unwrap();
            assert_eq!(is_empty(&name), expected, "{size}");
        }
    }
}
