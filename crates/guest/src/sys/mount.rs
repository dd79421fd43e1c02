//! Mounts.

use super::{check, fd, fd::raw};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::null;

/// What a mounted file system will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restrictions(libc::c_ulong);

impl Restrictions {
    /// None.
    pub const NONE: Self = Self(0);
    /// Nothing changes.
    pub const READ_ONLY: Self = Self(libc::MS_RDONLY);
    /// No device nodes, no set-user-id.
    pub const NO_PRIVILEGE: Self = Self(libc::MS_NOSUID | libc::MS_NODEV);
    /// No programs.
    pub const NO_EXEC: Self = Self(libc::MS_NOEXEC);
    /// No set-user-id.
    pub const NO_SUID: Self = Self(libc::MS_NOSUID);
    /// No device nodes.
    pub const NO_DEV: Self = Self(libc::MS_NODEV);
    /// No device nodes, no set-user-id, no programs.
    pub const DATA_ONLY: Self = Self(libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    /// No set-user-id, no programs: for file systems made of device nodes.
    pub const DEVICES_ONLY: Self = Self(libc::MS_NOSUID | libc::MS_NOEXEC);

    /// These and those.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Mounts `source` of type `kind` on `target`.
pub fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    restrictions: Restrictions,
    options: &CStr,
) -> io::Result<()> {
    // SAFETY: four C strings, which the kernel only reads.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            restrictions.0,
            options.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// Changes what the mount on `target` will do; other mounts of the same file system do as before.
pub fn restrict(target: &CStr, restrictions: Restrictions) -> io::Result<()> {
    remount(target, Restrictions(restrictions.0 | libc::MS_BIND), c"")
}

/// Changes the options of what is mounted on `target`.
pub fn remount(target: &CStr, restrictions: Restrictions, options: &CStr) -> io::Result<()> {
    let flags = restrictions.0 | libc::MS_REMOUNT;
    // SAFETY: source and type are ignored by a remount, the others are C strings the kernel only reads.
    check(unsafe {
        libc::mount(
            null(),
            target.as_ptr(),
            null(),
            flags,
            options.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// Moves the mount of the working directory over the root: the second half of switching roots.
pub fn move_here_to_root() -> io::Result<()> {
    // SAFETY: C strings; a move ignores type and options.
    check(unsafe { libc::mount(c".".as_ptr(), c"/".as_ptr(), null(), libc::MS_MOVE, null()) })
        .map(drop)
}

/// A handle on what is mounted on `path`, to be moved later by [`move_to`] or found again when no path
/// leads there anymore.
pub fn handle(path: &CStr) -> io::Result<OwnedFd> {
    fd::open(path, libc::O_PATH | libc::O_DIRECTORY)
}

const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x04;
const MOVE_MOUNT_T_SYMLINKS: libc::c_uint = 0x10;

/// Moves a mount to `target`, following symbolic links under the caller's root.
pub fn move_to(mount: &impl AsFd, target: &CStr) -> io::Result<()> {
    move_with(
        mount,
        target,
        MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS,
    )
}

/// Moves a mount to `target`, which must be no symbolic link itself.
pub fn move_to_exactly(mount: &impl AsFd, target: &CStr) -> io::Result<()> {
    move_with(mount, target, MOVE_MOUNT_F_EMPTY_PATH)
}

fn move_with(mount: &impl AsFd, target: &CStr, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: descriptors, flags and C strings, which the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            raw(mount),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            flags,
        )
    })
    .map(drop)
}

const OPEN_TREE_CLONE: libc::c_uint = 0x01;

/// A mount of its own, still nowhere, of an open file. The file's own mount must not be hidden from us.
pub fn of_file(file: &impl AsFd) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | (libc::O_CLOEXEC | libc::AT_EMPTY_PATH).cast_unsigned();
    // SAFETY: a descriptor, a C string and flags.
    let tree =
        check(unsafe { libc::syscall(libc::SYS_open_tree, raw(file), c"".as_ptr(), flags) })?;
    // SAFETY: the kernel just gave us this descriptor, which fits an int.
    Ok(unsafe { OwnedFd::from_raw_fd(tree as libc::c_int) })
}

const FSPICK_CLOEXEC: libc::c_uint = 0x01;
const FSPICK_EMPTY_PATH: libc::c_uint = 0x08;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;

/// Makes a whole file system read-only, which writes out what it holds. Works when no path leads to it.
pub fn make_read_only(root: &impl AsFd) -> io::Result<()> {
    let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
    // SAFETY: a descriptor, a C string and flags.
    let context =
        check(unsafe { libc::syscall(libc::SYS_fspick, raw(root), c"".as_ptr(), flags) })?;
    // SAFETY: the kernel just gave us this descriptor, which fits an int.
    let context = unsafe { OwnedFd::from_raw_fd(context as libc::c_int) };
    configure(&context, FSCONFIG_SET_FLAG, Some(c"ro"))?;
    configure(&context, FSCONFIG_CMD_RECONFIGURE, None)
}

fn configure(context: &OwnedFd, command: libc::c_uint, key: Option<&CStr>) -> io::Result<()> {
    let key = key.map_or(null(), CStr::as_ptr);
    let no_value = null::<libc::c_void>();
    // SAFETY: both commands read at most the key, a C string or null.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, raw(context), command, key, no_value, 0) })
        .map(drop)
}
