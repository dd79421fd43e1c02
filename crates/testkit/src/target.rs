//! What the build left for us: programs, guest assets, test images.

use std::path::{Path, PathBuf};

/// The directory of the programs of this build, where the guest's assets are too.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/test-0123
    test.ancestors()
        .nth(2)
        .expect("a test is in target/PROFILE/deps")
        .to_path_buf()
}

/// A program of this build.
pub fn program(name: &str) -> PathBuf {
    existing(programs().join(name), "cargo build --workspace")
}

/// A guest asset: `initramfs`, `kernel-standard`, `kernel-software-kvm`.
pub fn asset(name: &str) -> PathBuf {
    existing(programs().join(name), "cargo xtask test")
}

/// The OCI layout of a test image; its only tag is `latest`.
pub fn image(name: &str) -> PathBuf {
    let link = existing(
        test_images().join(name),
        &format!("cargo xtask images {name}"),
    );
    link.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", link.display()))
}

fn test_images() -> PathBuf {
    let programs = programs();
    programs
        .parent()
        .expect("a profile's directory is in the target directory")
        .join("test-images")
}

fn existing(path: PathBuf, how_to_make: &str) -> PathBuf {
    assert!(
        Path::exists(&path),
        "{} is missing: run `{how_to_make}`",
        path.display()
    );
    path
}
