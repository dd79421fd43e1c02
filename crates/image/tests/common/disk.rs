//! A root image as one file, checked by `fsck.erofs` and mounted by the kernel.

use super::manifest::{self, Manifest};
use super::tools::{require_root, run};
use image::digest::Digest;
use image::layer::{Layer, LayerError, LayerStore, Limits};
use image::root::{RootImage, RootStore};
use rustix::fs::SeekFrom;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A home directory of its own, removed at the end.
pub struct Home {
    pub directory: TempDir,
    pub layers: LayerStore,
    pub roots: RootStore,
}

impl Home {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("image-test-")
            .tempdir()
            .unwrap();
        let home = directory.path().join("home");
        Self {
            layers: LayerStore::open(&home).unwrap(),
            roots: RootStore::open(&home).unwrap(),
            directory,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub fn import(&self, tar: &[u8]) -> Result<Layer, LayerError> {
        self.layers
            .import(&Digest::of(tar), &mut &tar[..], &Limits::default())
    }

    pub fn compose(&self, tars: &[Vec<u8>]) -> RootImage {
        let layers: Vec<_> = tars.iter().map(|tar| self.import(tar).unwrap()).collect();
        self.roots.compose(&layers).unwrap()
    }

    /// What `HOME/tmp` holds; nothing when no one works.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        self.path()
            .join("tmp")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

/// The pieces in one sparse file.
pub fn concatenate(root: &RootImage, target: &Path) {
    let disk = File::create(target).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut base = 0;
    for piece in &root.pieces {
        let file = File::open(&piece.path).unwrap();
        assert_eq!(
            (piece.len % 4096, file.metadata().unwrap().len()),
            (0, piece.len),
            "{}",
            piece.path.display()
        );
        let mut at = 0;
        while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
            let count = file.read_at(&mut buffer, data).unwrap();
            disk.write_all_at(&buffer[..count], base + data).unwrap();
            at = data + count as u64;
        }
        base += piece.len;
    }
    disk.set_len(base).unwrap();
}

/// Judges a root image and reads it as the kernel shows it.
pub fn read(root: &RootImage) -> Manifest {
    let mounted = mount(root);
    fsck(&mounted.disk());
    manifest::of(mounted.path())
}

/// A root image as the kernel shows it.
pub fn mount(root: &RootImage) -> Mounted {
    let directory = tempfile::Builder::new()
        .prefix("image-disk-")
        .tempdir()
        .unwrap();
    concatenate(root, &directory.path().join("disk"));
    Mounted {
        mount: Mount::new(
            &directory.path().join("disk"),
            &directory.path().join("mounted"),
        ),
        directory,
    }
}

/// A mounted root image; fields are dropped in order.
pub struct Mounted {
    mount: Mount,
    directory: TempDir,
}

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.mount.0
    }

    pub fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }
}

/// `fsck.erofs` exits 0 for a wrong superblock checksum, but says so; it says nothing when all is well.
pub fn fsck(disk: &Path) {
    let output = run(
        "erofs-utils",
        Command::new("fsck.erofs").arg("--extract").arg(disk),
    );
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        !said.contains("<E>") && !said.contains("<W>"),
        "fsck.erofs: {said}"
    );
}

/// A mounted disk, unmounted on drop.
pub struct Mount(pub PathBuf);

impl Mount {
    pub fn new(disk: &Path, at: &Path) -> Self {
        require_root();
        std::fs::create_dir(at).unwrap();
        run(
            "mount",
            Command::new("mount")
                .args(["-t", "erofs", "-o", "ro,loop"])
                .args([disk, at]),
        );
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        } else {
            unmount(&self.0);
        }
    }
}

/// Takes a mount away. Lazily: a process that another test is starting right now may still hold our descriptors.
pub fn unmount(path: &Path) {
    run("mount", Command::new("umount").arg("--lazy").arg(path));
}
