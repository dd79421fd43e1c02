//! The kernel's file systems, mounted in the initramfs; the agent moves them into the image's root later.
//! /proc and the workload's view of the cgroups come from the reaper: they show the namespaces of whoever
//! mounts them.

use super::{BootError, Step};
use crate::sys::mount::{Restrictions, mount};
use std::ffi::CStr;
use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};

/// The size of /dev/shm until the host asks for another; Docker's default.
pub const SHM_SIZE: u64 = 64 << 20;
const SHM_OPTIONS: &CStr = c"mode=1777,size=67108864";

struct Entry {
    source: &'static CStr,
    target: &'static CStr,
    kind: &'static CStr,
    restrictions: Restrictions,
    options: &'static CStr,
}

/// In order: a mount comes after what it is mounted in.
const TABLE: &[Entry] = &[
    entry(
        c"devtmpfs",
        c"/dev",
        c"devtmpfs",
        // Not without programs: mapping /dev/zero to be executed would be refused.
        Restrictions::NO_SUID,
        c"mode=0755",
    ),
    entry(
        c"devpts",
        c"/dev/pts",
        c"devpts",
        Restrictions::DEVICES_ONLY,
        c"newinstance,ptmxmode=0666,mode=0620,gid=5",
    ),
    entry(
        c"shm",
        c"/dev/shm",
        c"tmpfs",
        Restrictions::DATA_ONLY,
        SHM_OPTIONS,
    ),
    entry(
        c"mqueue",
        c"/dev/mqueue",
        c"mqueue",
        Restrictions::DATA_ONLY,
        c"",
    ),
    entry(c"sysfs", c"/sys", c"sysfs", Restrictions::DATA_ONLY, c""),
    entry(
        c"tmpfs",
        c"/run",
        c"tmpfs",
        Restrictions::NO_PRIVILEGE,
        c"mode=0755",
    ),
    entry(
        c"tmpfs",
        c"/tmp",
        c"tmpfs",
        Restrictions::NO_PRIVILEGE,
        c"mode=1777",
    ),
];

const fn entry(
    source: &'static CStr,
    target: &'static CStr,
    kind: &'static CStr,
    restrictions: Restrictions,
    options: &'static CStr,
) -> Entry {
    Entry {
        source,
        target,
        kind,
        restrictions,
        options,
    }
}

/// Mounts everything and puts in place what programs expect to find there.
pub fn mount_all() -> Result<(), BootError> {
    for Entry {
        source,
        target,
        kind,
        restrictions,
        options,
    } in TABLE
    {
        mount_on(source, target, kind, *restrictions, options).step(format!(
            "mount {} on {}",
            kind.to_string_lossy(),
            target.to_string_lossy()
        ))?;
    }
    furnish().step("furnish /dev, /run and /tmp")
}

/// Mounts, making the mount point if there is none. What the kernel has mounted there already is fine.
pub fn mount_on(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    restrictions: Restrictions,
    options: &CStr,
) -> io::Result<()> {
    let mut result = mount(source, target, kind, restrictions, options);
    if result
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        directory(&target.to_string_lossy(), 0o755)?;
        result = mount(source, target, kind, restrictions, options);
    }
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        other => other,
    }
}

fn furnish() -> io::Result<()> {
    symlink("/proc/self/fd", "/dev/fd")?;
    symlink("/proc/self/fd/0", "/dev/stdin")?;
    symlink("/proc/self/fd/1", "/dev/stdout")?;
    symlink("/proc/self/fd/2", "/dev/stderr")?;
    // X servers and clients of the system bus look for these and fail oddly without.
    directory("/tmp/.X11-unix", 0o1777)?;
    directory("/run/dbus", 0o755)?;
    for device in ["/dev/fuse", "/dev/net/tun"] {
        match set_permissions(device, Permissions::from_mode(0o666)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn directory(path: &str, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_shm_in_the_table_is_the_documented_one() {
        let options = SHM_OPTIONS.to_str().unwrap();
        assert_eq!(options, format!("mode=1777,size={SHM_SIZE}"));
    }
}
