//! Names as archives spell them, and what they mean in a layer.

use super::Refusal;

const MAX_NAME: usize = 255;
/// `PATH_MAX` without its NUL: no program in the guest could open anything longer.
const MAX_PATH: usize = 4095;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names aufs kept for its own use (`.wh..wh.plnk`, `.wh..wh.aufs`); old images still carry some.
const AUFS: &[u8] = b".wh..wh.";

/// A path relative to the root without `.`, `..`, doubled or trailing slashes; empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreePath(Vec<u8>);

impl TreePath {
    /// The root itself.
    pub(crate) const fn root() -> Self {
        Self(Vec::new())
    }

    /// Reads a path as an archive spells it: `./a//b/` is `a/b`.
    pub(crate) fn parse(spelled: &[u8]) -> Result<Self, Refusal> {
        match spelled.first() {
            None => return Err(Refusal::EmptyName),
            Some(b'/') => return Err(Refusal::Absolute),
            Some(_) if spelled.contains(&0) => return Err(Refusal::NulByte),
            Some(_) => {}
        }
        let mut path = Vec::with_capacity(spelled.len());
        for component in spelled.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(Refusal::ParentComponent),
                _ if component.len() > MAX_NAME => return Err(Refusal::NameTooLong),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        if path.len() > MAX_PATH {
            Err(Refusal::PathTooLong)
        } else {
            Ok(Self(path))
        }
    }

    /// The path's bytes, components joined by single slashes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components from the root down.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// The directory and the name in it; `None` for the root.
    pub(crate) fn split(&self) -> Option<(Self, &[u8])> {
        let at = self.0.iter().rposition(|byte| *byte == b'/');
        match at {
            Some(at) => Some((Self(self.0[..at].into()), &self.0[at + 1..])),
            None if self.0.is_empty() => None,
            None => Some((Self(Vec::new()), &self.0)),
        }
    }

    /// One name further down.
    pub(crate) fn join(&self, name: &[u8]) -> Result<Self, Refusal> {
        let separator: &[u8] = if self.0.is_empty() { b"" } else { b"/" };
        let path = [&self.0, separator, name].concat();
        if name.len() > MAX_NAME {
            Err(Refusal::NameTooLong)
        } else if path.len() > MAX_PATH {
            Err(Refusal::PathTooLong)
        } else {
            Ok(Self(path))
        }
    }
}

/// What an entry's name asks for
/// ([OCI layer specification, "Whiteouts"](https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An entry of the tree.
    Entry(TreePath),
    /// Removes this path from the layers below.
    Whiteout(TreePath),
    /// Removes all names in this directory of the layers below.
    Opaque(TreePath),
    /// Left over from aufs; means nothing.
    Ignored,
}

impl Meaning {
    /// Reads an entry's name.
    pub(crate) fn parse(spelled: &[u8]) -> Result<Self, Refusal> {
        let path = TreePath::parse(spelled)?;
        let Some((directory, name)) = path.split() else {
            return Ok(Self::Entry(path));
        };
        if name == OPAQUE
            && directory
                .components()
                .all(|component| !component.starts_with(WHITEOUT))
        {
            return Ok(Self::Opaque(directory));
        }
        if path
            .components()
            .any(|component| component.starts_with(AUFS))
        {
            return Ok(Self::Ignored);
        }
        if directory
            .components()
            .any(|component| component.starts_with(WHITEOUT))
        {
            return Err(Refusal::Whiteout);
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(Self::Entry(path)),
            Some(b"" | b"." | b"..") => Err(Refusal::Whiteout),
            Some(target) => Ok(Self::Whiteout(directory.join(target)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath(text.into())
    }

    #[test]
    fn spellings_of_one_path_are_one_path() {
        for spelled in ["a/b", "./a/b", "a//b/", "././a/./b/.", "a/b//"] {
            assert_eq!(
                TreePath::parse(spelled.as_bytes()),
                Ok(path("a/b")),
                "{spelled}"
            );
        }
        for spelled in [".", "./", "././/"] {
            assert_eq!(
                TreePath::parse(spelled.as_bytes()),
                Ok(path("")),
                "{spelled}"
            );
        }
        assert_eq!(
            TreePath::parse(b"a/\xff\n"),
            Ok(TreePath(b"a/\xff\n".to_vec()))
        );
        assert_eq!(TreePath::parse(b"..a/b.."), Ok(path("..a/b..")));
    }

    #[test]
    fn paths_that_leave_the_tree_or_fit_nowhere_are_refused() {
        let refused = |spelled: &[u8]| TreePath::parse(spelled).unwrap_err();
        assert_eq!(refused(b""), Refusal::EmptyName);
        assert_eq!(refused(b"/"), Refusal::Absolute);
        assert_eq!(refused(b"/etc/passwd"), Refusal::Absolute);
        assert_eq!(refused(b"//etc"), Refusal::Absolute);
        for spelled in ["..", "../x", "a/../b", "a/..", "./.."] {
            assert_eq!(
                refused(spelled.as_bytes()),
                Refusal::ParentComponent,
                "{spelled}"
            );
        }
        assert_eq!(refused(b"a\0b"), Refusal::NulByte);
        assert_eq!(refused(&[b'n'; 256]), Refusal::NameTooLong);
        assert!(TreePath::parse(&[b'n'; 255]).is_ok());
        assert!(TreePath::parse(&b"d/".repeat(2048)[..4095]).is_ok());
        assert_eq!(
            refused(&[&b"d/".repeat(2047)[..], b"ee"].concat()),
            Refusal::PathTooLong
        );
        assert_eq!(path("d").join(&[b'n'; 256]), Err(Refusal::NameTooLong));
        assert_eq!(
            path(&"d/".repeat(2046)).join(b"eeee"),
            Err(Refusal::PathTooLong)
        );
    }

    #[test]
    fn whiteouts_are_told_from_names() {
        let meaning = |text: &str| Meaning::parse(text.as_bytes());
        assert_eq!(meaning("a/.wh.b"), Ok(Meaning::Whiteout(path("a/b"))));
        assert_eq!(meaning(".wh.b"), Ok(Meaning::Whiteout(path("b"))));
        assert_eq!(meaning(".wh....."), Ok(Meaning::Whiteout(path("...."))));
        assert_eq!(meaning(".wh..wh..opq"), Ok(Meaning::Opaque(path(""))));
        assert_eq!(meaning("a/.wh..wh..opq"), Ok(Meaning::Opaque(path("a"))));
        assert_eq!(meaning(".wh..wh.plnk/12.34"), Ok(Meaning::Ignored));
        assert_eq!(meaning("a/.wh..wh.aufs"), Ok(Meaning::Ignored));
        assert_eq!(meaning("a.wh.b"), Ok(Meaning::Entry(path("a.wh.b"))));
        for text in [
            ".wh.",
            ".wh..",
            ".wh...",
            "a/.wh.",
            "a/.wh...",
            ".wh.a/b",
            ".wh.a/.wh.b",
            ".wh.a/.wh..wh..opq",
        ] {
            let ignored = text.ends_with("opq");
            assert_eq!(
                meaning(text),
                if ignored {
                    Ok(Meaning::Ignored)
                } else {
                    Err(Refusal::Whiteout)
                },
                "{text}"
            );
        }
    }
}
