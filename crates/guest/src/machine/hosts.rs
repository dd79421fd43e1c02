//! The text of a hosts file: what a machine adds to its image's and what changes with its name.

use proto::session::Machine;

/// Debian's address for a machine's own name: local, and apart from localhost.
const OWN_ADDRESS: &[u8] = b"127.0.1.1";

/// The file with what it lacks; `None` when it lacks nothing.
pub fn completed(old: &[u8], machine: &Machine) -> Option<Vec<u8>> {
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
        add(OWN_ADDRESS, hostname);
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

/// The file with one name in the place of another, which it had; `None` when nothing changes.
pub fn renamed(hosts: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let is_shared = old.is_empty() || old == b"localhost";
    let mut renamed = Vec::with_capacity(hosts.len() + new.len());
    for line in hosts.split_inclusive(|&byte| byte == b'\n') {
        if is_shared || !names(line, old) {
            renamed.extend_from_slice(line);
        } else {
            renamed.extend_from_slice(&renamed_line(line, old, new));
        }
    }
    if !names(&renamed, new) {
        if !renamed.is_empty() && !renamed.ends_with(b"\n") {
            renamed.push(b'\n');
        }
        renamed.extend_from_slice(&[OWN_ADDRESS, b"\t", new, b"\n"].concat());
    }
    (renamed != hosts).then_some(renamed)
}

/// Every name that is the old one; address, spaces and comment stay.
fn renamed_line(line: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let end = line
        .iter()
        .position(|&byte| byte == b'#')
        .unwrap_or(line.len());
    let (entry, comment) = line.split_at(end);
    let mut renamed = Vec::with_capacity(line.len() + new.len());
    for piece in entry.split_inclusive(u8::is_ascii_whitespace) {
        let word = piece.trim_ascii_end();
        let is_name = word == old && !renamed.trim_ascii().is_empty();
        renamed.extend_from_slice(if is_name { new } else { word });
        renamed.extend_from_slice(&piece[word.len()..]);
    }
    renamed.extend_from_slice(comment);
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::session::Upper;

    fn machine(hostname: &str) -> Machine {
        Machine {
            hostname: hostname.into(),
            upper: Upper::Disk,
            resolv_conf: None,
            hosts: Vec::new(),
            shm_size: 0,
            ipv6: false,
            network: None,
            keep_on_failure: false,
            extras: proto::mounts::Extras::default(),
            memory_limit: None,
            pids_limit: None,
            cpu_limit: None,
            wall_clock_ns: 0,
            entropy: Vec::new(),
        }
    }

    fn completed(old: &str, machine: &Machine) -> Option<String> {
        super::completed(old.as_bytes(), machine).map(|new| String::from_utf8(new).unwrap())
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

    fn renamed(hosts: &str, old: &str, new: &str) -> Option<String> {
        super::renamed(hosts.as_bytes(), old.as_bytes(), new.as_bytes())
            .map(|hosts| String::from_utf8(hosts).unwrap())
    }

    #[test]
    fn a_renamed_machine_keeps_its_address_and_the_other_lines() {
        let old = "# web\n127.0.0.1\tlocalhost\n10.1.1.1  web.example web # web\n10.1.1.2 web2\n";
        let new = "# web\n127.0.0.1\tlocalhost\n10.1.1.1  web.example copy # web\n10.1.1.2 web2\n";
        assert_eq!(renamed(old, "web", "copy").unwrap(), new);
        assert_eq!(renamed(new, "copy", "copy"), None);
    }

    #[test]
    fn a_name_that_had_no_line_gets_one_and_localhost_keeps_its() {
        assert_eq!(renamed("", "", "copy").unwrap(), "127.0.1.1\tcopy\n");
        assert_eq!(
            renamed("127.0.0.1 localhost", "localhost", "copy").unwrap(),
            "127.0.0.1 localhost\n127.0.1.1\tcopy\n"
        );
        assert_eq!(renamed("web web\n", "web", "copy").unwrap(), "web copy\n");
    }

    proptest! {
        #[test]
        fn renaming_there_and_back_changes_nothing(hosts in "([0-9.]{1,4}[ \t]{1,2}[a-d]{1,3}( # [a-d]+)?\n){0,6}", name in "[a-d]{1,3}") {
            if names(hosts.as_bytes(), name.as_bytes()) {
                let there = renamed(&hosts, &name, "copy").unwrap();
                prop_assert!(!names(there.as_bytes(), name.as_bytes()));
                prop_assert_eq!(renamed(&there, "copy", &name).unwrap(), hosts);
            }
        }

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
