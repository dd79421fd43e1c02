//! The three files in /etc that belong to the machine and not to the image.
//!
//! They are written while nothing but the image is mounted, so that no symbolic link of the image can lead
//! to a file of the kernel's. A link in the place of one of the files is replaced, not followed.

use super::hosts;
use crate::failure::Context;
use crate::sys::system;
use proto::session::{Failure, FailureKind, Machine};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

/// A hosts file above this is left alone.
const MAX_HOSTS: u64 = 1 << 20;

/// Sets the host name and writes the files that need it.
pub fn write(machine: &Machine) -> Result<(), Failure> {
    use FailureKind::System;
    let name = &machine.hostname;
    if !name.is_empty() {
        system::set_hostname(name).failing(System, || {
            format!("set the host name to {}", name.escape_ascii())
        })?;
        replace("/etc/hostname", &[name, &b"\n"[..]].concat())
            .failing(System, || "write /etc/hostname".into())?;
    }
    if let Some(hosts) = read_hosts("/etc/hosts").and_then(|old| hosts::completed(&old, machine)) {
        replace("/etc/hosts", &hosts).failing(System, || "write /etc/hosts".into())?;
    }
    if let Some(contents) = &machine.resolv_conf {
        replace("/etc/resolv.conf", contents)
            .failing(System, || "write /etc/resolv.conf".into())?;
    }
    Ok(())
}

/// Gives a machine that has lived another name. The lines of /etc/hosts that had the old one get the new one.
pub fn rename(old: &[u8], new: &[u8]) -> Result<(), Failure> {
    use FailureKind::System;
    if new.is_empty() {
        return Ok(());
    }
    system::set_hostname(new).failing(System, || {
        format!("set the host name to {}", new.escape_ascii())
    })?;
    overwrite("/etc/hostname", &[new, &b"\n"[..]].concat())
        .failing(System, || "write /etc/hostname".into())?;
    if let Some(hosts) = read_hosts("/etc/hosts").and_then(|hosts| hosts::renamed(&hosts, old, new))
    {
        overwrite("/etc/hosts", &hosts).failing(System, || "write /etc/hosts".into())?;
    }
    Ok(())
}

/// Where a machine id is kept: systemd's file, and the message bus's where that is no link to it.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Replaces the machine id where there is one. An empty file, or systemd's word for one still to be made, is none.
pub fn change_machine_id(id: &[u8; 16]) -> Result<(), Failure> {
    for path in MACHINE_IDS {
        if has_machine_id(path) {
            overwrite(path, format!("{}\n", hex(id)).as_bytes())
                .failing(FailureKind::System, || format!("write {path}"))?;
        }
    }
    Ok(())
}

fn has_machine_id(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
        && read_hosts(path).is_some_and(|id| !id.is_empty() && id.trim_ascii() != b"uninitialized")
}

/// Lower-case digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the image (or an earlier life of the machine) has; `None` when it is too big to be touched.
fn read_hosts(path: &str) -> Option<Vec<u8>> {
    let Ok(metadata) = fs::metadata(path) else {
        return Some(Vec::new());
    };
    if !metadata.is_file() {
        return Some(Vec::new());
    }
    let mut contents = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_HOSTS + 1)
        .read_to_end(&mut contents)
        .ok()?;
    (contents.len() as u64 <= MAX_HOSTS).then_some(contents)
}

/// Puts a regular file in the place of whatever is there.
fn replace(path: &str, contents: &[u8]) -> io::Result<()> {
    let create = || {
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
    };
    let mut file = match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir("/etc")?;
            create()?
        }
        other => other?,
    };
    file.write_all(contents)
}

/// Writes over a regular file that has no other name, so that a full disk is no hindrance; puts a new one in the place
/// of anything else.
fn overwrite(path: &str, contents: &[u8]) -> io::Result<()> {
    let existing = File::options()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    match existing {
        Ok(file)
            if file
                .metadata()
                .is_ok_and(|it| it.is_file() && it.nlink() == 1) =>
        {
            file.write_all_at(contents, 0)?;
            file.set_len(contents.len() as u64)
        }
        _ => replace(path, contents),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_replaced_and_what_it_led_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        replace(link.to_str().unwrap(), b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!(fs::read(&link).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn a_hosts_file_that_is_huge_is_left_alone_and_a_missing_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        assert_eq!(read_hosts(path.to_str().unwrap()), Some(Vec::new()));
        fs::write(&path, vec![b'#'; MAX_HOSTS as usize + 1]).unwrap();
        assert_eq!(read_hosts(path.to_str().unwrap()), None);
    }

    #[test]
    fn a_machine_id_is_there_only_if_it_says_something_in_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine-id");
        let has = |path: &std::path::Path| has_machine_id(path.to_str().unwrap());
        assert!(!has(&path));
        for (contents, expected) in [("", false), ("uninitialized\n", false), ("0123\n", true)] {
            fs::write(&path, contents).unwrap();
            assert_eq!(has(&path), expected, "{contents}");
        }
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(!has(&link));
    }

    #[test]
    fn overwriting_keeps_the_file_and_cuts_it_but_replaces_a_link_and_a_shared_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str| overwrite(at(name).to_str().unwrap(), b"new").unwrap();
        fs::write(at("file"), "something longer").unwrap();
        let inode = fs::metadata(at("file")).unwrap().ino();
        write("file");
        assert_eq!(fs::metadata(at("file")).unwrap().ino(), inode);
        assert_eq!(fs::read(at("file")).unwrap(), b"new");
        fs::write(at("target"), "precious").unwrap();
        symlink(at("target"), at("link")).unwrap();
        fs::hard_link(at("target"), at("shared")).unwrap();
        for name in ["link", "shared"] {
            write(name);
            assert_eq!(fs::read(at(name)).unwrap(), b"new");
        }
        assert_eq!(fs::read(at("target")).unwrap(), b"precious");
    }
}
