//! The three files in /etc that belong to the machine and not to the image.
//!
//! They are written while nothing but the image is mounted, so that no symbolic link of the image can lead
//! to a file of the kernel's. A link in the place of one of the files is replaced, not followed.

use crate::failure::Context;
use crate::sys::system;
use proto::session::{Failure, FailureKind, Machine};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

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
    if let Some(hosts) = read_hosts("/etc/hosts").and_then(|old| completed_hosts(&old, machine)) {
        replace("/etc/hosts", &hosts).failing(System, || "write /etc/hosts".into())?;
    }
    if let Some(contents) = &machine.resolv_conf {
        replace("/etc/resolv.conf", contents)
            .failing(System, || "write /etc/resolv.conf".into())?;
    }
    Ok(())
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

/// The file with what it lacks; `None` when it lacks nothing.
fn completed_hosts(old: &[u8], machine: &Machine) -> Option<Vec<u8>> {
    let mut new = old.to_vec();
    if !old.is_empty() && !old.ends_with(b"\n") {
        new.push(b'\n');
    }
    let unchanged = new.len();
    let mut add = |address: &[u8], name: &[u8]| {
        new.extend_from_slice(address);
        new.push(b'\t');
        new.extend_from_slice(name);
        new.push(b'\n');
    };
    if !names(old, b"localhost") {
        add(b"127.0.0.1", b"localhost");
        if machine.ipv6 {
            add(b"::1", b"localhost ip6-localhost ip6-loopback");
        }
    }
    for (address, name) in &machine.hosts {
        if !maps(old, address, name) {
            add(address, name);
        }
    }
    let hostname = &machine.hostname;
    if !hostname.is_empty()
        && !names(old, hostname)
        && !machine.hosts.iter().any(|(_, name)| name == hostname)
    {
        // Debian's address for a machine's own name: local, and apart from localhost.
        add(b"127.0.1.1", hostname);
    }
    (new.len() > unchanged).then_some(new)
}

/// Whether a hosts file has an address for a name.
fn names(hosts: &[u8], wanted: &[u8]) -> bool {
    entries(hosts).any(|mut words| words.any(|word| word == wanted))
}

/// Whether a hosts file has this address for a name.
fn maps(hosts: &[u8], address: &[u8], name: &[u8]) -> bool {
    entries(hosts).any(|words| words.address == address && words.clone().any(|word| word == name))
}

fn entries(hosts: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    hosts.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.split(|&byte| byte == b'#').next()?;
        let mut entry = Entry {
            address: b"",
            names: line,
        };
        entry.address = entry.next()?;
        Some(entry)
    })
}

/// A line of a hosts file; iterates over its names.
#[derive(Clone)]
struct Entry<'a> {
    address: &'a [u8],
    names: &'a [u8],
}

impl<'a> Iterator for Entry<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.names.trim_ascii_start();
        let end = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.names = rest;
        (!word.is_empty()).then_some(word)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::session::Upper;
    use std::os::unix::fs::symlink;

    fn machine(hostname: &str) -> Machine {
        Machine {
            hostname: hostname.into(),
            upper: Upper::Disk,
            resolv_conf: None,
            hosts: Vec::new(),
            shm_size: 0,
            ipv6: false,
            memory_limit: None,
            wall_clock_ns: 0,
            entropy: Vec::new(),
        }
    }

    fn completed(old: &str, machine: &Machine) -> Option<String> {
        completed_hosts(old.as_bytes(), machine).map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn an_empty_file_gets_localhost_and_the_host_name() {
        assert_eq!(
            completed("", &machine("web")).unwrap(),
            "127.0.0.1\tlocalhost\n127.0.1.1\tweb\n"
        );
    }

    #[test]
    fn ipv6_adds_its_own_localhost() {
        let machine = Machine {
            ipv6: true,
            ..machine("web")
        };
        assert!(
            completed("", &machine)
                .unwrap()
                .contains("::1\tlocalhost ip6-localhost ip6-loopback\n")
        );
    }

    #[test]
    fn what_the_image_wrote_stays() {
        let old = "# mine\n10.0.0.1 db # localhost";
        assert_eq!(
            completed(old, &machine("db")).unwrap(),
            "# mine\n10.0.0.1 db # localhost\n127.0.0.1\tlocalhost\n"
        );
    }

    #[test]
    fn a_complete_file_is_left_alone() {
        assert_eq!(
            completed("127.0.0.1 localhost\n127.0.1.1\tx web\n", &machine("web")),
            None
        );
    }

    #[test]
    fn the_callers_lines_are_added_and_may_name_the_host() {
        let machine = Machine {
            hosts: vec![(b"10.1.1.1".to_vec(), b"web".to_vec())],
            ..machine("web")
        };
        let new = completed("127.0.0.1 localhost\n", &machine).unwrap();
        assert_eq!(new, "127.0.0.1 localhost\n10.1.1.1\tweb\n");
        assert_eq!(completed(&new, &machine), None);
    }

    #[test]
    fn an_address_or_part_of_a_name_is_no_name() {
        assert!(!names(b"localhost other\n", b"localhost"));
        assert!(!names(b"127.0.0.1 localhost.localdomain\n", b"localhost"));
        assert!(names(b"127.0.0.1\tone  localhost\r\n", b"localhost"));
    }

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

    proptest! {
        #[test]
        fn completing_keeps_the_old_lines_and_is_done_once(old in "[ -~\n]{0,200}", name in "[a-z]{1,10}") {
            let machine = machine(&name);
            if let Some(new) = completed(&old, &machine) {
                prop_assert!(new.starts_with(&old));
                prop_assert_eq!(completed(&new, &machine), None);
            }
        }
    }
}
