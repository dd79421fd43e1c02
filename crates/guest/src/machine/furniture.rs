//! What an image has in a place that a file system of ours is mounted on: directories that its programs put their
//! sockets in (`/run/postgresql`), with their owners and modes, links and files. It is looked at before, and made
//! again after.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::{Path, PathBuf};

/// Everything below a place, parents first.
#[derive(Debug)]
pub struct Furniture(Vec<Piece>);

#[derive(Debug)]
struct Piece {
    path: PathBuf,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
}

#[derive(Debug)]
enum Kind {
    Directory,
    Link(PathBuf),
    File(Vec<u8>),
}

impl Furniture {
    /// What is there now. An image may well have nothing, or no such place.
    pub fn of(place: &Path) -> io::Result<Self> {
        let mut pieces = Vec::new();
        match collect(place, &mut pieces) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Err(error)
            }
            _ => Ok(Self(pieces)),
        }
    }

    /// Makes it again, where something else is mounted by now. What is there already gets owner and mode.
    pub fn put(&self) -> io::Result<()> {
        self.0.iter().try_for_each(Piece::put)
    }
}

/// Sockets, pipes and devices are of no use without whoever made them.
fn collect(directory: &Path, pieces: &mut Vec<Piece>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let found = path.symlink_metadata()?;
        let kind = if found.is_dir() {
            Kind::Directory
        } else if found.is_symlink() {
            Kind::Link(fs::read_link(&path)?)
        } else if found.is_file() {
            Kind::File(fs::read(&path)?)
        } else {
            continue;
        };
        let is_directory = matches!(kind, Kind::Directory);
        pieces.push(Piece {
            path: path.clone(),
            kind,
            mode: found.mode() & 0o7777,
            owner: (found.uid(), found.gid()),
        });
        if is_directory {
            collect(&path, pieces)?;
        }
    }
    Ok(())
}

impl Piece {
    fn put(&self) -> io::Result<()> {
        let made = match &self.kind {
            Kind::Directory => DirBuilder::new().mode(0o700).create(&self.path),
            Kind::Link(target) => symlink(target, &self.path),
            Kind::File(contents) => File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)
                .and_then(|mut file| file.write_all(contents)),
        };
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if self.owner != (0, 0) {
            lchown(&self.path, Some(self.owner.0), Some(self.owner.1))?;
        }
        match self.kind {
            Kind::Link(_) => Ok(()),
            // After the owner, whose change takes set-user-id away.
            _ => fs::set_permissions(&self.path, Permissions::from_mode(self.mode)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_links_and_files_are_made_again_with_their_modes() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("run");
        fs::create_dir_all(place.join("server/deep")).unwrap();
        fs::set_permissions(place.join("server"), Permissions::from_mode(0o2775)).unwrap();
        fs::write(place.join("server/deep/settings"), "yes").unwrap();
        symlink("server", place.join("link")).unwrap();
        let furniture = Furniture::of(&place).unwrap();
        fs::remove_dir_all(&place).unwrap();
        fs::create_dir_all(place.join("server")).unwrap();
        furniture.put().unwrap();
        assert_eq!(
            fs::metadata(place.join("server")).unwrap().mode() & 0o7777,
            0o2775
        );
        assert_eq!(fs::read(place.join("link/deep/settings")).unwrap(), b"yes");
    }

    #[test]
    fn a_place_that_is_not_there_has_nothing() {
        assert!(
            Furniture::of(Path::new("/no/such/place"))
                .unwrap()
                .0
                .is_empty()
        );
        assert!(
            Furniture::of(Path::new("/etc/passwd"))
                .unwrap()
                .0
                .is_empty()
        );
    }
}
