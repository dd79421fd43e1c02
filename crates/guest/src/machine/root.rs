//! The image's root: its read-only disk below, a writable layer above, joined by overlayfs.

use super::disk::{Disks, OnDisk};
use crate::failure::Context;
use crate::init::mounts::mount_on;
use crate::sys::mount::{self, Restrictions};
use proto::session::{Failure, FailureKind, Upper};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

const LOWER: &CStr = c"/lower";
const UPPER: &CStr = c"/upper";
const ROOT: &CStr = c"/root";
/// Directory renames on the lower layer work as on any file system, instead of failing with EXDEV.
const OPTIONS: &CStr = c"lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work,redirect_dir=on";

/// The writable layer, by a descriptor: the workload sees no path to it.
#[derive(Debug)]
pub struct Root {
    upper: OwnedFd,
}

impl Root {
    /// Leaves the writable layer clean on its disk.
    pub fn close(&self) -> io::Result<()> {
        mount::make_read_only(&self.upper)
    }
}

/// Makes the mount points, before the template point.
pub fn make_places() -> io::Result<()> {
    for place in [LOWER, UPPER, ROOT] {
        make_directory(&place.to_string_lossy(), 0o755)?;
    }
    Ok(())
}

/// Mounts the disks, joins them and makes the result the root of all our roles, with nothing in it but the
/// image.
pub fn assemble(upper: Upper, disks: &Disks) -> Result<Root, Failure> {
    disks.mount(&IMAGE, LOWER)?;
    mount_upper(upper, disks)?;
    let upper =
        mount::handle(UPPER).failing(FailureKind::Mount, || "open the writable layer".into())?;
    prepare_upper().failing(FailureKind::Mount, || "prepare the writable layer".into())?;
    mount_on(c"overlay", ROOT, c"overlay", Restrictions::NONE, OPTIONS)
        .failing(FailureKind::Mount, || {
            "join the image and the writable layer (overlay) on /".into()
        })?;
    switch().failing(FailureKind::Mount, || "switch to the image's root".into())?;
    Ok(Root { upper })
}

const IMAGE: OnDisk = OnDisk {
    device: c"/dev/vda",
    size: c"/sys/block/vda/size",
    role: "the image's disk",
    kind: c"erofs",
    restrictions: Restrictions::READ_ONLY,
    options: c"",
};

const WRITABLE: OnDisk = OnDisk {
    device: c"/dev/vdb",
    size: c"/sys/block/vdb/size",
    role: "the writable disk",
    kind: c"ext4",
    restrictions: Restrictions::NONE,
    // The inode tables of a freshly made file system need no zeroing on a sparse disk.
    options: c"noinit_itable",
};

fn mount_upper(upper: Upper, disks: &Disks) -> Result<(), Failure> {
    match upper {
        Upper::Disk => disks.mount(&WRITABLE, UPPER),
        Upper::Tmpfs(bytes) => {
            let options =
                CString::new(format!("mode=0755,size={bytes}")).expect("digits hold no NUL");
            mount_on(c"tmpfs", UPPER, c"tmpfs", Restrictions::NONE, &options)
                .failing(FailureKind::Mount, || {
                    format!("make a writable layer of {bytes} bytes of memory")
                })
        }
    }
}

/// Makes overlayfs's two directories, unless an earlier life of the disk has. The upper one stands for the
/// root directory itself, so it takes after the image's.
fn prepare_upper() -> io::Result<()> {
    make_directory("/upper/work", 0o700)?;
    if !make_directory("/upper/upper", 0o755)? {
        return Ok(());
    }
    let image = fs::metadata("/lower")?;
    take_after("/upper/upper", &image)
}

fn take_after(path: &str, model: &Metadata) -> io::Result<()> {
    if (model.uid(), model.gid()) != (0, 0) {
        std::os::unix::fs::chown(path, Some(model.uid()), Some(model.gid()))?;
    }
    if model.mode() & 0o7777 != 0o755 {
        fs::set_permissions(path, fs::Permissions::from_mode(model.mode() & 0o7777))?;
    }
    let times = fs::FileTimes::new()
        .set_modified(model.modified()?)
        .set_accessed(model.modified()?);
    fs::File::open(path)?.set_times(times)
}

/// Whether it is new.
fn make_directory(path: &str, mode: u32) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The initramfs cannot be pivoted away (it has no parent mount), so the new root is moved over it.
fn switch() -> io::Result<()> {
    std::env::set_current_dir(path(ROOT))?;
    mount::move_here_to_root()?;
    std::os::unix::fs::chroot(".")
}

/// The kernel's file systems while they wait in the initramfs.
#[derive(Debug)]
pub struct MountHandles([(OwnedFd, &'static CStr); 5]);

impl MountHandles {
    /// Takes hold of them.
    pub fn open() -> io::Result<Self> {
        let handle = |path| Ok::<_, io::Error>((mount::handle(path)?, path));
        Ok(Self([
            handle(c"/proc")?,
            handle(c"/sys")?,
            handle(c"/dev")?,
            handle(c"/run")?,
            handle(c"/tmp")?,
        ]))
    }

    /// Moves each to its place under the new root. All of them are resolved there, so whatever the image
    /// has in their places can lead nowhere else.
    pub fn move_into_root(&self) -> Result<(), Failure> {
        for (handle, place) in &self.0 {
            move_to(handle, place).failing(FailureKind::Mount, || {
                format!("mount {} in the image", place.to_string_lossy())
            })?;
        }
        Ok(())
    }
}

/// Moves a mount, making its mount point if the image has none that is a directory.
fn move_to(handle: &OwnedFd, place: &CStr) -> io::Result<()> {
    if mount::move_to_exactly(handle, place).is_ok() {
        return Ok(());
    }
    if leads_to_root(path(place)) {
        make_mount_point(path(place))?;
    }
    match mount::move_to(handle, place) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput
            ) =>
        {
            make_mount_point(path(place))?;
            mount::move_to(handle, place)
        }
        other => other,
    }
}

/// Whether a mount there would hide the whole image.
fn leads_to_root(path: &Path) -> bool {
    let identity = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    fs::read_link(path).is_ok() && identity(path) == identity(Path::new("/"))
}

/// A symbolic link that leads nowhere or to the root and a file in the place of a mount point goes.
fn make_mount_point(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            fs::create_dir(path)
        }
        other => other,
    }
}

fn path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}
