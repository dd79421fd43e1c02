//! The initramfs: a "newc" cpio archive (Linux Documentation/driver-api/early-userspace/buffer-format.rst),
//! the same bytes for the same contents.

/// What an entry is.
pub enum Node<'a> {
    /// A regular file with these contents.
    File(&'a [u8]),
    /// A directory.
    Directory,
    /// A character device.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Node<'_> {
    /// The type bits of `st_mode`.
    const fn type_bits(&self) -> u32 {
        match self {
            Self::File(_) => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Character { .. } => 0o020_000,
        }
    }
}

/// An archive being written. Owners are root and times are 0.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds an entry. Parents come before their children.
    pub fn add(&mut self, path: &str, mode: u32, node: &Node<'_>) -> &mut Self {
        self.entries += 1;
        let contents = if let Node::File(contents) = node {
            contents
        } else {
            &[][..]
        };
        let (major, minor) = if let Node::Character { major, minor } = node {
            (*major, *minor)
        } else {
            (0, 0)
        };
        let links = if matches!(node, Node::Directory) {
            2
        } else {
            1
        };
        let size = u32::try_from(contents.len()).expect("an initramfs file is below 4 GiB");
        self.header(
            self.entries,
            node.type_bits() | mode,
            links,
            size,
            (major, minor),
            path,
        );
        self.bytes.extend_from_slice(contents);
        self.pad();
        self
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.header(0, 0, 1, 0, (0, 0), "TRAILER!!!");
        self.bytes
    }

    fn header(
        &mut self,
        inode: u32,
        mode: u32,
        links: u32,
        size: u32,
        device: (u32, u32),
        path: &str,
    ) {
        let name_size = path.len() as u32 + 1;
        // inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [
            inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// Headers and contents start at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Run;
    use std::process::Command;

    #[test]
    fn cpio_lists_what_was_put_in() {
        let mut archive = Archive::default();
        archive
            .add("dev", 0o755, &Node::Directory)
            .add(
                "dev/console",
                0o600,
                &Node::Character { major: 5, minor: 1 },
            )
            .add("init", 0o755, &Node::File(b"odd"));
        let listing = Command::new("cpio")
            .args(["--list", "--verbose", "--quiet"])
            .filter(&archive.finish())
            .unwrap();
        let listing = String::from_utf8(listing).unwrap();
        let columns: Vec<Vec<&str>> = listing
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!((columns[0][0], columns[0][8]), ("drwxr-xr-x", "dev"));
        assert_eq!(
            (columns[1][0], columns[1][4], columns[1][5]),
            ("crw-------", "5,", "1")
        );
        assert_eq!(
            (columns[2][0], columns[2][4], columns[2][8]),
            ("-rwxr-xr-x", "3", "init")
        );
    }
}
