//! What a machine has besides its image. All of it comes after the template point: a page cache that a snapshot had
//! frozen with an older content would corrupt a volume, and a secret is in no template.

use super::disk::{Disks, OnDisk};
use crate::failure::{Context, failure, shown};
use crate::init::mounts::mount_on;
use crate::process::UserFiles;
use crate::sys::fd;
use crate::sys::mount::{self, Restrictions};
use crate::sys::process::{self, Fork};
use proto::guest::disk;
use proto::mounts::{Access, Extras, Fill, Flags, Mount, Secret, Source};
use proto::session::{Failure, FailureKind};
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use tree::{Devices, Links, Owners, Pack, Unpacker};

const SECRETS: &CStr = c"/run/secrets";

/// Mounts everything and sets the kernel's parameters. The result are the volumes that are written to.
pub fn apply(extras: &Extras, disks: &Disks) -> Result<Vec<OwnedFd>, Failure> {
    let mut volumes = Vec::new();
    for mount in &extras.mounts {
        volumes.extend(put(mount, disks)?);
    }
    for (name, value) in &extras.sysctls {
        set_parameter(name, value)?;
    }
    if extras.root == Access::ReadOnly {
        make_root(Access::ReadOnly).failing(FailureKind::Mount, || "make / read-only".into())?;
    }
    Ok(volumes)
}

/// Lets the root be written to, or not. Only this mount of it: the writable layer stays as it is.
pub fn make_root(access: Access) -> io::Result<()> {
    let flags = match access {
        Access::ReadOnly => Restrictions::READ_ONLY,
        Access::ReadWrite => Restrictions::NONE,
    };
    mount::restrict(c"/", flags)
}

fn put(mount: &Mount, disks: &Disks) -> Result<Option<OwnedFd>, Failure> {
    let target = &mount.target;
    let path = Path::new(OsStr::from_bytes(target));
    let name = CString::new(&target[..]).map_err(|_| {
        failure(
            FailureKind::Request,
            format!("mount on {}: a NUL byte", shown(target)),
        )
    })?;
    let below = fs::metadata(path).ok();
    fs::create_dir_all(path).failing(FailureKind::Mount, || {
        format!("make the mount point {}", shown(target))
    })?;
    let flags = restrictions(mount.flags);
    match &mount.source {
        Source::Tmpfs(options) => tmpfs(below.as_ref(), &name, options, flags)
            .map(|()| None)
            .failing(FailureKind::Mount, || {
                format!("mount a tmpfs on {}", shown(target))
            }),
        Source::Volume { slot, fill } => {
            let under = File::open(path).failing(FailureKind::Mount, || {
                format!("open the mount point {}", shown(target))
            })?;
            disks.mount(&on_disk(*slot, flags)?, &name)?;
            if mount.flags.access == Access::ReadOnly {
                return Ok(None);
            }
            make_at_home(path, &under, *fill)
                .and_then(|()| mount::handle(&name).map(Some))
                .failing(FailureKind::Mount, || {
                    format!("fill the volume on {}", shown(target))
                })
        }
    }
}

fn restrictions(flags: Flags) -> Restrictions {
    [
        (flags.access == Access::ReadOnly, Restrictions::READ_ONLY),
        (flags.no_exec, Restrictions::NO_EXEC),
        (flags.no_suid, Restrictions::NO_SUID),
        (flags.no_dev, Restrictions::NO_DEV),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(Restrictions::NONE, |all, (_, one)| all.and(one))
}

/// As a container runtime does: without a mode of its own it has that of the directory below.
fn tmpfs(
    below: Option<&fs::Metadata>,
    name: &CStr,
    options: &[u8],
    flags: Restrictions,
) -> io::Result<()> {
    let mut options = options.to_vec();
    let mut words = options.split(|&byte| byte == b',');
    let has_mode = words.any(|option| option.starts_with(b"mode="));
    if let Some(below) = below.filter(|_| !has_mode) {
        let mode = below.mode() & 0o7777;
        let comma = if options.is_empty() { "" } else { "," };
        options.extend_from_slice(format!("{comma}mode={mode:o}").as_bytes());
    }
    let options = CString::new(options)?;
    mount::mount(c"tmpfs", name, c"tmpfs", flags, &options)
}

/// The slots for data, as the kernel names them.
const DATA: [(&CStr, &CStr); (disk::COUNT - disk::DATA) as usize] = [
    (c"/dev/vdc", c"/sys/block/vdc/size"),
    (c"/dev/vdd", c"/sys/block/vdd/size"),
    (c"/dev/vde", c"/sys/block/vde/size"),
    (c"/dev/vdf", c"/sys/block/vdf/size"),
];

fn on_disk(slot: u8, restrictions: Restrictions) -> Result<OnDisk, Failure> {
    let (device, size) = slot
        .checked_sub(disk::DATA)
        .and_then(|index| DATA.get(usize::from(index)))
        .ok_or_else(|| {
            failure(
                FailureKind::Request,
                format!("there is no data disk in slot {slot}"),
            )
        })?;
    Ok(OnDisk {
        device,
        size,
        role: "the volume",
        kind: c"ext4",
        restrictions,
        options: c"noinit_itable",
    })
}

/// Gives an empty volume what was at its place, as Docker does. Programs that want an empty directory (initdb) would
/// stumble over the one that fsck likes to have.
fn make_at_home(volume: &Path, under: &File, fill: Fill) -> io::Result<()> {
    match fs::remove_dir(volume.join("lost+found")) {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound
                && error.kind() != io::ErrorKind::DirectoryNotEmpty =>
        {
            return Err(error);
        }
        _ => {}
    }
    if fill == Fill::Nothing || fs::read_dir(volume)?.next().is_some() {
        return Ok(());
    }
    let below = under.metadata()?;
    chown(volume, Some(below.uid()), Some(below.gid()))?;
    fs::set_permissions(volume, fs::Permissions::from_mode(below.mode() & 0o7777))?;
    copy(under, volume)
}

/// One process packs, this one unpacks. /proc shows the workload's namespace, which we are not in, so the directory is
/// found by entering it.
fn copy(from: &File, to: &Path) -> io::Result<()> {
    let (reader, writer) = fd::pipe()?;
    match process::fork_alone()? {
        Fork::Child => {
            drop(reader);
            let how = Pack {
                name: b".".to_vec(),
                links: Links::Keep,
            };
            let packed = std::panic::catch_unwind(|| {
                process::enter(from).is_ok()
                    && tree::pack(
                        Path::new("."),
                        &how,
                        BufWriter::with_capacity(1 << 16, File::from(writer)),
                    )
                    .is_ok()
            });
            process::exit(i32::from(!packed.unwrap_or(false)))
        }
        Fork::Parent(..) => {
            drop(writer);
            let root = OwnedFd::from(File::open(to)?);
            // A packer that failed has not written the archive's end.
            Unpacker::new(root, Owners::Kept, Devices::Made)
                .unpack(BufReader::with_capacity(1 << 16, File::from(reader)))
                .map_err(io::Error::other)
        }
    }
}

fn set_parameter(name: &[u8], value: &[u8]) -> Result<(), Failure> {
    let what = || {
        format!(
            "set the kernel parameter {} to {}",
            shown(name),
            shown(value)
        )
    };
    let text = String::from_utf8_lossy(name).replace('.', "/");
    if text.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(failure(FailureKind::Request, what()));
    }
    File::options()
        .write(true)
        .open(Path::new("/proc/sys").join(text))
        .and_then(|mut file| file.write_all(value))
        .failing(FailureKind::System, what)
}

/// Puts the secrets where their user can read them: in memory, in files of mode 0400.
pub fn put_secrets(extras: &Extras, users: &mut UserFiles) -> Result<(), Failure> {
    if extras.secrets.is_empty() {
        return Ok(());
    }
    let owner = users.resolve(&extras.secrets_for)?.identity;
    let failing = |what: &'static str| move || what.to_owned();
    mount_on(
        c"tmpfs",
        SECRETS,
        c"tmpfs",
        Restrictions::DATA_ONLY,
        c"mode=0755,size=16m",
    )
    .failing(FailureKind::Mount, failing("mount a tmpfs on /run/secrets"))?;
    for Secret { name, contents } in &extras.secrets {
        let path = Path::new("/run/secrets").join(OsStr::from_bytes(name));
        let write = || {
            if let Some(above) = path.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(above)?;
            }
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o400)
                .open(&path)?;
            file.write_all(contents)?;
            chown(&path, Some(owner.uid), Some(owner.gid))
        };
        write().failing(FailureKind::System, || {
            format!("write the secret {}", shown(name))
        })?;
    }
    mount::restrict(
        SECRETS,
        Restrictions::DATA_ONLY.and(Restrictions::READ_ONLY),
    )
    .failing(FailureKind::Mount, failing("make /run/secrets read-only"))
}
