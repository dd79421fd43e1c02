//! The files a writable disk is made of, and disks that share some of them.
//!
//! A disk is one file until its VM is copied on a file system that cannot copy by reference. From then on it lies upon
//! files that nobody writes any more, which have a name in the directory of every VM and snapshot that needs them: the
//! file system counts. See [`::snapshot::disk`] for what they make together.

use super::{ScratchError, failed};
use crate::record::SCRATCH;
use ::snapshot::disk::{Layers, tells_holes};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ioctl_ficlone, linkat};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Layers of a disk from which on those that nobody writes become one before the disk is shared again: each costs a
/// file, and a look at its holes.
const MANY: usize = 8;

/// The name of a top that is not in use yet.
const NEXT: &str = "scratch.new";

/// The open files of a disk, the lowest first. The VM they belong to writes to the last.
#[derive(Debug)]
pub(crate) struct DiskFiles {
    pub(crate) files: Vec<File>,
    /// The length of each, and of the disk.
    pub(crate) bytes: u64,
}

/// The names of the layers in a directory, the lowest first.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, ScratchError> {
    let mut below = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let name = entry.map_err(failed("read", dir))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if let Some(number) = number(&name) {
            below.push((number, name));
        }
    }
    below.sort_unstable();
    let below = below.into_iter().map(|(_, name)| name);
    Ok(below.chain([SCRATCH.to_owned()]).collect())
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix(SCRATCH)?.strip_prefix('.')?.parse().ok()
}

fn layer_name(number: usize) -> String {
    format!("{SCRATCH}.{number}")
}

/// Removes a disk, of which there may be all, a part or nothing.
pub(crate) fn remove(dir: &Path) -> Result<(), ScratchError> {
    for name in names(dir)? {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens the disk of a VM.
pub(crate) fn open(dir: &Path) -> Result<DiskFiles, ScratchError> {
    let mut names = names(dir)?;
    names.pop();
    let top = dir.join(SCRATCH);
    let top = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&top)
        .map_err(failed("open", &top))?;
    let mut files = Vec::new();
    for name in names {
        let path = dir.join(name);
        let file = File::open(&path).map_err(failed("open", &path))?;
        // A process that was killed between giving the top a second name and taking its first away.
        if !is_same(&file, &top).map_err(failed("look at", &path))? {
            files.push(file);
        }
    }
    files.push(top);
    let bytes = length(&files).map_err(failed("look at", dir))?;
    Ok(DiskFiles { files, bytes })
}

fn is_same(a: &File, b: &File) -> io::Result<bool> {
    Ok(a.metadata()?.ino() == b.metadata()?.ino())
}

/// The length of a disk of these files.
fn length(files: &[File]) -> io::Result<u64> {
    files
        .last()
        .map_or(Ok(0), |last| Ok(last.metadata()?.len()))
}

/// The disk of a VM that stands still, as it is now: files that nobody writes. Copied by reference where the file
/// system can. Else, with `Some`, the VM has to go on with other files than it had: its disk lies upon them.
pub(crate) fn share(dir: &Path) -> Result<(Vec<File>, Option<DiskFiles>), ScratchError> {
    let mut files = open(dir)?.files;
    let copy = unnamed(dir)?;
    if let Some(top) = files.last_mut()
        && ioctl_ficlone(&copy, &*top).is_ok()
    {
        *top = copy;
        return Ok((files, None));
    }
    if tells_holes(dir).map_err(failed("look for holes in", dir))? {
        turn(dir)?;
        return Ok((files, Some(open(dir)?)));
    }
    merge(files, &copy, dir)?;
    Ok((vec![copy], None))
}

/// Makes the top of a disk the highest of the files nobody writes, and puts an empty one in its place.
fn turn(dir: &Path) -> Result<(), ScratchError> {
    let top = dir.join(SCRATCH);
    let bytes = fs::metadata(&top).map_err(failed("look at", &top))?.len();
    let next = dir.join(NEXT);
    let _ = fs::remove_file(&next);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)
        .and_then(|file| file.set_len(bytes))
        .map_err(failed("create", &next))?;
    let names = names(dir)?;
    let highest = names.iter().filter_map(|name| number(name)).max();
    let below = dir.join(layer_name(highest.map_or(0, |number| number as usize + 1)));
    // At any point there is a whole disk: `open` tells two names of one file.
    fs::hard_link(&top, &below).map_err(failed("name", &below))?;
    fs::rename(&next, &top).map_err(failed("name", &top))
}

/// Makes one file of the many that a disk lies upon. The VM may go on writing to its top meanwhile.
pub(crate) fn merge_many(dir: &Path) -> Result<(), ScratchError> {
    let mut names = names(dir)?;
    names.pop();
    if names.len() < MANY {
        return Ok(());
    }
    let mut files = Vec::new();
    for name in &names {
        let path = dir.join(name);
        files.push(File::open(&path).map_err(failed("open", &path))?);
    }
    let merged = unnamed(dir)?;
    merge(files, &merged, dir)?;
    merged.sync_all().map_err(failed("sync", dir))?;
    let next = dir.join(NEXT);
    let _ = fs::remove_file(&next);
    link(&merged, &next)?;
    // What is left of the others upon it changes nothing, as long as the lower ones go first.
    let mut names = names.into_iter().map(|name| dir.join(name));
    if let Some(lowest) = names.next() {
        fs::rename(&next, &lowest).map_err(failed("name", &lowest))?;
    }
    for path in names {
        fs::remove_file(&path).map_err(failed("remove", &path))?;
    }
    Ok(())
}

/// A disk of its own for one more VM, as `shared` is: a file that has no name, and what it lies upon.
pub(crate) fn one_more(shared: &[File], dir: &Path) -> Result<Vec<File>, ScratchError> {
    let cannot = failed("share a disk in", dir);
    let mut files = Vec::new();
    for file in shared {
        files.push(file.try_clone().map_err(&cannot)?);
    }
    let copy = unnamed(dir)?;
    if let Some(last) = files.last_mut()
        && ioctl_ficlone(&copy, &*last).is_ok()
    {
        *last = copy;
    } else if tells_holes(dir).map_err(&cannot)? {
        let bytes = length(&files).map_err(&cannot)?;
        copy.set_len(bytes).map_err(&cannot)?;
        files.push(copy);
    } else {
        merge(files, &copy, dir)?;
        files = vec![copy];
    }
    Ok(files)
}

/// Names the files of a disk in a directory that has none.
pub(crate) fn adopt(files: Vec<File>, dir: &Path) -> Result<DiskFiles, ScratchError> {
    let below = files.len().saturating_sub(1);
    for (number, file) in files.iter().enumerate() {
        let name = if number == below {
            SCRATCH.to_owned()
        } else {
            layer_name(number)
        };
        let path = dir.join(name);
        match link(file, &path) {
            Err(ScratchError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // Whoever had it is gone, and with it its last name.
                let copy = unnamed(dir)?;
                merge(
                    vec![file.try_clone().map_err(failed("copy", &path))?],
                    &copy,
                    dir,
                )?;
                link(&copy, &path)?;
            }
            linked => linked?,
        }
    }
    open(dir)
}

fn link(file: &File, path: &Path) -> Result<(), ScratchError> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, &own, CWD, path, AtFlags::SYMLINK_FOLLOW)
        .map_err(|errno: Errno| failed("name", path)(errno.into()))
}

/// A file without a name, which goes with its last descriptor.
fn unnamed(dir: &Path) -> Result<File, ScratchError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR);
    file.map(File::from)
        .map_err(|errno| failed("make a disk in", dir)(errno.into()))
}

fn merge(files: Vec<File>, target: &File, dir: &Path) -> Result<(), ScratchError> {
    Layers::new(files)
        .and_then(|layers| layers.merge_into(target))
        .map_err(failed("copy a disk in", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const BYTES: u64 = 4 << 20;

    fn disk(dir: &Path) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(dir.join(SCRATCH)).unwrap();
        file.set_len(BYTES).unwrap();
        file
    }

    fn content(files: Vec<File>) -> Vec<u8> {
        let mut bytes = vec![0; BYTES as usize];
        let layers = Layers::new(files).unwrap();
        layers.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn lives_that_share_a_disk_see_what_was_there_and_not_what_others_write() {
        let home = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| home.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        disk(&a).write_all_at(&[1; 4096], 0).unwrap();
        let (shared, _) = share(&a).unwrap();
        let before = content(
            shared
                .iter()
                .map(|file| file.try_clone().unwrap())
                .collect(),
        );
        let write = |dir: &Path, byte, at| {
            let files = open(dir).unwrap().files;
            files
                .last()
                .unwrap()
                .write_all_at(&[byte; 4096], at)
                .unwrap();
        };
        write(&a, 2, 4096);
        adopt(one_more(&shared, &b).unwrap(), &b).unwrap();
        write(&b, 3, 0);
        let [now_a, now_b] = [&a, &b].map(|dir| content(open(dir).unwrap().files));
        assert!(content(shared) == before);
        assert_eq!((now_a[0], now_a[4096]), (1, 2));
        assert_eq!((now_b[0], now_b[4096]), (3, 0));
        // The other goes with all its names.
        fs::remove_dir_all(&a).unwrap();
        assert!(content(open(&b).unwrap().files) == now_b);
        remove(&b).unwrap();
        assert_eq!(fs::read_dir(&b).unwrap().count(), 0);
    }

    #[test]
    fn however_often_a_disk_is_turned_it_has_few_layers_and_the_same_content() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        disk(dir);
        let mut model = vec![0; BYTES as usize];
        for round in 0..30_u8 {
            let at = u64::from(round % 7) * 4096;
            open(dir)
                .unwrap()
                .files
                .last()
                .unwrap()
                .write_all_at(&[round; 4096], at)
                .unwrap();
            model[at as usize..][..4096].fill(round);
            merge_many(dir).unwrap();
            turn(dir).unwrap();
            let files = open(dir).unwrap().files;
            assert!(files.len() <= MANY + 1, "{}", files.len());
            assert!(content(files) == model, "round {round}");
        }
        assert!(!dir.join(NEXT).exists());
    }

    #[test]
    fn a_turn_that_was_cut_short_leaves_the_disk_it_was() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        disk(dir).write_all_at(&[9; 4096], 8192).unwrap();
        turn(dir).unwrap();
        // Killed between the two names.
        fs::hard_link(dir.join(SCRATCH), dir.join(layer_name(1))).unwrap();
        fs::write(dir.join(NEXT), "").unwrap();
        let files = open(dir).unwrap().files;
        assert_eq!(files.len(), 2);
        assert_eq!(content(files)[8192], 9);
        turn(dir).unwrap();
        assert_eq!(content(open(dir).unwrap().files)[8192], 9);
    }

    #[test]
    fn a_layer_whose_last_name_is_gone_is_copied() {
        let home = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| home.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        disk(&a).write_all_at(&[5; 4096], 0).unwrap();
        turn(&a).unwrap();
        let files = open(&a).unwrap().files;
        let files = one_more(&files, &b).unwrap();
        fs::remove_dir_all(&a).unwrap();
        let disk = adopt(files, &b).unwrap();
        assert_eq!(content(disk.files)[0], 5);
    }
}
