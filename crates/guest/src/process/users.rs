//! Users and groups as the image's own files name them. Never through the C library's look-ups: those would
//! load the image's code into this process.

use crate::failure::{failure, shown};
use crate::sys::spawn::Identity;
use proto::session::{Failure, FailureKind};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Ids above this are refused, as Docker does: the kernel gives special meaning to the highest ones.
const MAX_ID: u32 = i32::MAX as u32;

/// The most of /etc/passwd or /etc/group that is read.
const MAX_FILE: u64 = 16 << 20;

/// A user that was asked for, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Ids.
    pub identity: Identity,
    /// The login name, or the number of a user without one.
    pub name: Vec<u8>,
    /// The home directory.
    pub home: Vec<u8>,
}

/// The files, read again only when they have changed.
#[derive(Debug, Default)]
pub struct UserFiles {
    passwd: CachedFile,
    group: CachedFile,
}

impl UserFiles {
    /// Resolves `user`, `uid`, `user:group`, `uid:gid` and mixtures; empty means root.
    pub fn resolve(&mut self, spec: &[u8]) -> Result<User, Failure> {
        let passwd = self.passwd.contents("/etc/passwd");
        let group = self.group.contents("/etc/group");
        resolve(spec, passwd, group)
    }

    /// Puts a user into further groups, by name or id.
    pub fn add_groups(&mut self, user: &mut User, wanted: &[Vec<u8>]) -> Result<(), Failure> {
        let group = self.group.contents("/etc/group");
        for name in wanted {
            let id = find_group(name, group)?;
            if !user.identity.groups.contains(&id) {
                user.identity.groups.push(id);
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct CachedFile {
    seen: Option<Signature>,
    contents: Vec<u8>,
}

/// What changes whenever a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signature {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl CachedFile {
    /// The file as it is now; a missing or unreadable one is empty, as for a scratch image.
    fn contents(&mut self, path: &str) -> &[u8] {
        let now = std::fs::metadata(path)
            .ok()
            .filter(Metadata::is_file)
            .map(|m| Signature::of(&m));
        if now != self.seen {
            self.contents = now.and_then(|_| read(path).ok()).unwrap_or_default();
            self.seen = now;
        }
        &self.contents
    }
}

/// Without waiting, in case the path has become a FIFO since it was looked at.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let mut contents = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut contents)?;
    Ok(contents)
}

/// A line of /etc/passwd: name, password, uid, gid, comment, home, shell.
struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// A line of /etc/group: name, password, gid, members.
struct GroupEntry<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty() && line[0] != b'#')
}

fn passwd_entries(file: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let (uid, gid) = (id(fields.nth(1)?)?, id(fields.next()?)?);
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry {
            name,
            uid,
            gid,
            home,
        })
    })
}

fn group_entries(file: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        Some(GroupEntry {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// A decimal id in range.
fn id(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text)
        .ok()?
        .parse()
        .ok()
        .filter(|&id| id <= MAX_ID)
}

/// The look-up itself. A number that is also somebody's name means that name, as in Docker.
fn resolve(spec: &[u8], passwd: &[u8], group: &[u8]) -> Result<User, Failure> {
    let (user, wanted_group) = match spec.iter().position(|&byte| byte == b':') {
        Some(colon) => (&spec[..colon], &spec[colon + 1..]),
        None => (spec, &[][..]),
    };
    let user = if user.is_empty() { b"0" } else { user };
    let number = id(user);
    let entry = passwd_entries(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| passwd_entries(passwd).find(|entry| Some(entry.uid) == number));
    let Some(uid) = entry.as_ref().map(|entry| entry.uid).or(number) else {
        return Err(unknown(user, "user", "/etc/passwd"));
    };
    let (gid, groups) = if wanted_group.is_empty() {
        (
            entry.as_ref().map_or(0, |entry| entry.gid),
            memberships(entry.as_ref(), group),
        )
    } else {
        (find_group(wanted_group, group)?, Vec::new())
    };
    Ok(User {
        identity: Identity { uid, gid, groups },
        name: match &entry {
            Some(entry) => entry.name.to_vec(),
            None if uid == 0 => b"root".to_vec(),
            None => uid.to_string().into_bytes(),
        },
        home: match &entry {
            Some(entry) if !entry.home.is_empty() => entry.home.to_vec(),
            None if uid == 0 => b"/root".to_vec(),
            _ => b"/".to_vec(),
        },
    })
}

/// The groups that list the user as a member.
fn memberships(user: Option<&PasswdEntry<'_>>, group: &[u8]) -> Vec<u32> {
    let Some(user) = user else { return Vec::new() };
    let mut groups: Vec<u32> = group_entries(group)
        .filter(|entry| {
            entry
                .members
                .split(|&byte| byte == b',')
                .any(|member| member == user.name)
        })
        .map(|entry| entry.gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn find_group(wanted: &[u8], group: &[u8]) -> Result<u32, Failure> {
    group_entries(group)
        .find(|entry| entry.name == wanted)
        .map(|entry| entry.gid)
        .or_else(|| id(wanted))
        .ok_or_else(|| unknown(wanted, "group", "/etc/group"))
}

fn unknown(name: &[u8], what: &str, file: &str) -> Failure {
    let name = shown(name);
    failure(
        FailureKind::UnknownUser,
        format!("{what} {name}: not in the image's {file}, and not an id"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # a comment:x:1:1\n\
        broken line\n\
        app:x:1000:1001:App,,,:/home/app:/bin/sh\n\
        1234:x:77:78::/srv:/bin/false\n\
        nohome:x:1002:1002:::\n";
    const GROUP: &[u8] =
        b"root:x:0:root\nwheel:x:10:root,app\naudio:x:11:app\napp:x:1001:\nempty:x:12:\n";

    fn found(spec: &[u8]) -> (u32, u32, Vec<u32>) {
        let identity = resolve(spec, PASSWD, GROUP).unwrap().identity;
        (identity.uid, identity.gid, identity.groups)
    }

    #[test]
    fn names_and_numbers_resolve_as_docker_does() {
        assert_eq!(found(b""), (0, 0, vec![0, 10]));
        assert_eq!(found(b"app"), (1000, 1001, vec![10, 11]));
        assert_eq!(found(b"1000"), (1000, 1001, vec![10, 11]));
        assert_eq!(found(b"4711"), (4711, 0, vec![]));
        assert_eq!(found(b"app:audio"), (1000, 11, vec![]));
        assert_eq!(found(b"1000:5"), (1000, 5, vec![]));
        assert_eq!(found(b"4711:wheel"), (4711, 10, vec![]));
        assert_eq!(found(b":audio"), (0, 11, vec![]));
        assert_eq!(found(b"app:"), (1000, 1001, vec![10, 11]));
    }

    #[test]
    fn a_number_that_is_a_name_means_the_name() {
        assert_eq!(found(b"1234"), (77, 78, vec![]));
    }

    #[test]
    fn unknown_names_are_failures_that_name_them() {
        for (spec, named) in [
            (&b"ghost"[..], "user ghost"),
            (b"app:ghosts", "group ghosts"),
            (b"-1", "user -1"),
        ] {
            let failure = resolve(spec, PASSWD, GROUP).unwrap_err();
            assert_eq!(failure.kind, FailureKind::UnknownUser);
            assert!(failure.context.starts_with(named), "{}", failure.context);
        }
    }

    #[test]
    fn ids_out_of_range_are_refused() {
        for spec in [
            &b"4294967295"[..],
            b"2147483648",
            b"99999999999999999999",
            b"0:4294967295",
        ] {
            assert_eq!(
                resolve(spec, PASSWD, GROUP).unwrap_err().kind,
                FailureKind::UnknownUser
            );
        }
        assert_eq!(found(b"2147483647").0, 2_147_483_647);
    }

    #[test]
    fn home_and_name_have_sensible_defaults() {
        let who = |spec: &[u8], passwd: &[u8]| {
            let user = resolve(spec, passwd, b"").unwrap();
            (user.name, user.home)
        };
        assert_eq!(
            who(b"app", PASSWD),
            (b"app".to_vec(), b"/home/app".to_vec())
        );
        assert_eq!(who(b"nohome", PASSWD), (b"nohome".to_vec(), b"/".to_vec()));
        assert_eq!(who(b"4711", PASSWD), (b"4711".to_vec(), b"/".to_vec()));
        assert_eq!(who(b"", b""), (b"root".to_vec(), b"/root".to_vec()));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let path = path.to_str().unwrap();
        let mut file = CachedFile::default();
        assert_eq!(file.contents(path), b"");
        std::fs::write(path, "one").unwrap();
        assert_eq!(file.contents(path), b"one");
        std::fs::write(path, "longer").unwrap();
        assert_eq!(file.contents(path), b"longer");
        std::fs::remove_file(path).unwrap();
        assert_eq!(file.contents(path), b"");
    }

    proptest! {
        #[test]
        fn no_file_and_no_name_makes_it_panic(spec: Vec<u8>, passwd: Vec<u8>, group: Vec<u8>) {
            let _ = resolve(&spec, &passwd, &group);
        }

        #[test]
        fn every_id_in_range_resolves_to_itself(uid in 0..=MAX_ID, gid in 0..=MAX_ID) {
            let user = resolve(format!("{uid}:{gid}").as_bytes(), b"", b"").unwrap();
            prop_assert_eq!((user.identity.uid, user.identity.gid), (uid, gid));
        }
    }
}
