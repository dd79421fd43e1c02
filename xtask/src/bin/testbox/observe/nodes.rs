//! What is in /dev, and what may be written or read in /proc and /sys.

use super::{Fact, fact};
use rustix::fs::{major, minor};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Files that tell how open the kernel is, and that every kernel has.
const READ: &[&str] = &["/proc/kmsg"];
const WRITTEN: &[&str] = &["/proc/sys/kernel/domainname", "/proc/sys/vm/drop_caches"];

/// Adds all of it.
pub fn observe(facts: &mut Vec<Fact>) -> io::Result<()> {
    for entry in fs::read_dir("/dev")? {
        let path = entry?.path();
        // Made where the kernel of the host offers its memory as a file.
        if path == Path::new("/dev/core") {
            continue;
        }
        fact(facts, format!("node {}", path.display()), kind(&path)?);
    }
    for path in READ {
        fact(facts, format!("reading {path}"), answer(File::open(path)));
    }
    for path in WRITTEN {
        fact(
            facts,
            format!("writing {path}"),
            answer(File::options().write(true).open(path)),
        );
    }
    Ok(())
}

fn answer(result: io::Result<File>) -> String {
    match result {
        Ok(_) => "yes".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "not there".to_owned(),
        Err(_) => "no".to_owned(),
    }
}

/// What is at a path, with mode and owner; a device with its numbers, a link with where it leads.
pub fn kind(path: &Path) -> io::Result<String> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok("not there".to_owned()),
        Err(error) => return Err(error),
    };
    let kind = found.file_type();
    if kind.is_symlink() {
        return Ok(format!("link to {}", fs::read_link(path)?.display()));
    }
    let owner = format!(
        "{:o} {}:{}",
        found.mode() & 0o7777,
        found.uid(),
        found.gid()
    );
    let numbers = format!("{}:{}", major(found.rdev()), minor(found.rdev()));
    Ok(
        match (kind.is_dir(), kind.is_char_device(), kind.is_block_device()) {
            (true, ..) => format!("directory {owner}"),
            (_, true, _) => format!("character {numbers} {owner}"),
            (_, _, true) => format!("block device {owner}"),
            _ => format!("file {owner}"),
        },
    )
}
