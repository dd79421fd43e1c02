//! What every inode has besides its content.

use super::Refusal;
use super::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Permissions, owner, time and extended attributes of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    /// Permission bits with setuid, setgid and sticky; no type.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timestamp,
    /// Sorted by namespace, then name; no name twice.
    pub(crate) xattrs: Vec<Xattr>,
}

impl Attributes {
    /// What a directory gets that the archive uses but does not contain: as `mkdir -p` run by root makes it, but with
    /// a time that is the same on every machine.
    pub(crate) const fn implied_directory() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp {
                seconds: 0,
                nanoseconds: 0,
            },
            xattrs: Vec::new(),
        }
    }
}

/// A point in time: whole seconds since the epoch, rounded down, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Timestamp {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// The part of an extended attribute's name that the kernel gives meaning to.
///
/// The numbers are those of erofs (`EROFS_XATTR_INDEX_*`), and so is the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Namespace {
    User = 1,
    AclAccess = 2,
    AclDefault = 3,
    Trusted = 4,
    Security = 6,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Xattr {
    pub(crate) namespace: Namespace,
    /// What follows the namespace; empty for the ACLs.
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
}

/// `trusted.overlay.*` is how overlayfs talks to itself. Workloads see the image through an overlay, which hides these
/// names and obeys them; one that comes out of an archive could only mislead it.
const OVERLAY_PRIVATE: &[u8] = b"overlay.";

/// The length of a value is 16 bits in erofs (the kernel's own limit is one byte more).
const MAX_VALUE: usize = u16::MAX as usize;

/// `i_xattr_icount` is 16 bits and counts in units of four bytes after a header of twelve.
pub(crate) const MAX_XATTR_BODY: usize = 12 + 4 * (u16::MAX as usize - 1);

/// Collects the extended attributes of one inode.
#[derive(Debug, Default)]
pub(crate) struct XattrSet(Vec<Xattr>);

impl XattrSet {
    /// Adds one, in place of an earlier one of the same name. Names that Linux file systems do not carry
    /// (`com.apple.*`, `system.nfs4_acl`) are dropped, as every container engine does.
    pub(crate) fn insert(&mut self, full_name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let Some((namespace, name)) = split_name(full_name) else {
            return Ok(());
        };
        if namespace == Namespace::Trusted && name.starts_with(OVERLAY_PRIVATE) {
            return Ok(());
        }
        let is_acl = matches!(namespace, Namespace::AclAccess | Namespace::AclDefault);
        if name.contains(&0) {
            return Err(Refusal::NulByte);
        }
        if name.len() > u8::MAX.into() || name.is_empty() && !is_acl {
            return Err(Refusal::XattrName);
        }
        if value.len() > MAX_VALUE {
            return Err(Refusal::XattrSize(super::EntryName::new(full_name)));
        }
        if is_acl && !is_acl_value(value) {
            return Err(Refusal::Acl);
        }
        let new = Xattr {
            namespace,
            name: name.into(),
            value: value.into(),
        };
        match self
            .0
            .iter_mut()
            .find(|old| old.namespace == namespace && *old.name == *name)
        {
            Some(old) => *old = new,
            None => self.0.push(new),
        }
        Ok(())
    }

    /// All of them in their one order, if an inode can hold them.
    pub(crate) fn finish(mut self) -> Result<Vec<Xattr>, Refusal> {
        if xattr_body_len(&self.0) > MAX_XATTR_BODY {
            return Err(Refusal::XattrTotal);
        }
        self.0
            .sort_unstable_by(|a, b| (a.namespace, &*a.name).cmp(&(b.namespace, &*b.name)));
        Ok(self.0)
    }
}

/// Bytes of an inode's extended attributes on disk: a header of 12, then for each 4 bytes, name and value, rounded up.
pub(crate) fn xattr_body_len(xattrs: &[Xattr]) -> usize {
    let entry = |xattr: &Xattr| (4 + xattr.name.len() + xattr.value.len()).next_multiple_of(4);
    if xattrs.is_empty() {
        0
    } else {
        12 + xattrs.iter().map(entry).sum::<usize>()
    }
}

fn split_name(full_name: &[u8]) -> Option<(Namespace, &[u8])> {
    let prefixes: [(&[u8], Namespace); 3] = [
        (b"user.", Namespace::User),
        (b"trusted.", Namespace::Trusted),
        (b"security.", Namespace::Security),
    ];
    match full_name {
        b"system.posix_acl_access" => Some((Namespace::AclAccess, b"")),
        b"system.posix_acl_default" => Some((Namespace::AclDefault, b"")),
        _ => prefixes
            .into_iter()
            .find_map(|(prefix, space)| Some((space, full_name.strip_prefix(prefix)?))),
    }
}

/// `struct posix_acl_xattr_header`, version 2, and entries of eight bytes.
fn is_acl_value(value: &[u8]) -> bool {
    value.len() % 8 == 4 && value[..4] == 2u32.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[(&str, &[u8])]) -> Result<Vec<Xattr>, Refusal> {
        let mut set = XattrSet::default();
        for (name, value) in entries {
            set.insert(name.as_bytes(), value)?;
        }
        set.finish()
    }

    #[test]
    fn names_are_split_and_sorted_and_the_last_value_stays() {
        let xattrs = set(&[
            ("security.capability", b"c"),
            ("user.b", b"1"),
            ("user.a", b""),
            ("user.b", b"2"),
        ])
        .unwrap();
        let flat: Vec<_> = xattrs
            .iter()
            .map(|x| (x.namespace as u8, &*x.name, &*x.value))
            .collect();
        assert_eq!(
            flat,
            [
                (1, &b"a"[..], &b""[..]),
                (1, b"b", b"2"),
                (6, b"capability", b"c")
            ]
        );
        assert_eq!(xattr_body_len(&xattrs), 12 + 8 + 8 + 16);
    }

    #[test]
    fn names_no_linux_file_system_carries_are_dropped() {
        let names = [
            "com.apple.quarantine",
            "system.nfs4_acl",
            "trusted.overlay.opaque",
            "user",
            "",
        ];
        assert_eq!(set(&names.map(|name| (name, &b"x"[..]))), Ok(vec![]));
    }

    #[test]
    fn what_no_inode_can_hold_is_refused() {
        assert_eq!(set(&[("user.", b"x")]), Err(Refusal::XattrName));
        assert_eq!(
            set(&[(&format!("user.{}", "n".repeat(256)), b"x")]),
            Err(Refusal::XattrName)
        );
        assert!(matches!(
            set(&[("user.x", &[0; 65536])]),
            Err(Refusal::XattrSize(_))
        ));
        assert_eq!(
            set(&[("system.posix_acl_access", b"user::rwx")]),
            Err(Refusal::Acl)
        );
        let big = vec![0; 65535];
        assert_eq!(
            set(&["a", "b", "c", "d"].map(|_| ("user.same", &big[..])))
                .unwrap()
                .len(),
            1
        );
        let many = ["user.a", "user.b", "user.c", "user.d"].map(|name| (name, &big[..]));
        assert_eq!(set(&many), Err(Refusal::XattrTotal));
    }
}
