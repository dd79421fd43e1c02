//! Directories that look saved, for the tests of those who care for them.

use super::{MANIFEST, MEMORY_FILE, STATE_FILE, Saved, SavedError, boot_id, by_digest};
use crate::home::Home;
use ::snapshot::Digest;
use ::snapshot::manifest::{Cpu, Host, Kernel, Kind, Manifest, Memory, StateFile};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

const STATE: &[u8] = b"state";

pub(crate) fn home() -> (tempfile::TempDir, Home) {
    let temporary = tempfile::tempdir().unwrap();
    let home = Home::open(&temporary.path().join("home")).unwrap();
    (temporary, home)
}

/// A manifest of a machine of 1 MiB.
pub(crate) fn manifest(kind: Kind, name: &str, base: Option<Digest>) -> Manifest {
    Manifest {
        kind,
        name: name.into(),
        created_ns: 1,
        release: crate::RELEASE.into(),
        kernel: Kernel {
            flavor: "standard".into(),
            digest: Digest::of(b"kernel"),
        },
        initramfs: Digest::of(b"initramfs"),
        memory_mib: 1,
        vcpus: 1,
        cpu: Cpu {
            vendor: String::new(),
            family: 0,
            model: 0,
            stepping: 0,
        },
        host: Host {
            boot_id: boot_id().unwrap(),
            kernel: String::new(),
        },
        base,
        state: StateFile {
            bytes: STATE.len() as u64,
            digest: Digest::of(STATE),
        },
        memory: Memory {
            pages: 0,
            digest: Digest::of(b"memory"),
        },
        image: None,
        disks: Vec::new(),
        workload: serde_json::json!({}),
    }
}

/// Puts it into a directory, with files of the right sizes.
pub(crate) fn put(dir: &Path, manifest: &Manifest) -> Digest {
    DirBuilder::new().mode(0o700).create(dir).unwrap();
    fs::write(dir.join(MANIFEST), manifest.to_json()).unwrap();
    fs::write(dir.join(STATE_FILE), STATE).unwrap();
    let memory = File::create(dir.join(MEMORY_FILE)).unwrap();
    memory.set_len((1 << 20) + 100).unwrap();
    manifest.digest()
}

#[test]
fn a_chain_is_opened_oldest_first_and_a_missing_link_is_named() {
    let (_temporary, home) = home();
    let template = put(
        &home.templates().path("t"),
        &manifest(Kind::Template, "t", None),
    );
    let first = put(
        &home.snapshots().path("first"),
        &manifest(Kind::Snapshot, "first", Some(template)),
    );
    let path = home.snapshots().path("second");
    put(&path, &manifest(Kind::Snapshot, "second", Some(first)));
    let second = Saved::open(&path).unwrap();
    assert_eq!(second.files(&home).unwrap().memory.len(), 3);
    let bases = second.bases(&home).unwrap();
    let names: Vec<_> = bases.iter().map(Saved::name).collect();
    assert_eq!(names, ["first", "t"]);
    home.templates().remove("t").unwrap();
    assert!(by_digest(&home, &template).unwrap().is_none());
    let error = second.files(&home).unwrap_err();
    assert!(matches!(error, SavedError::BaseMissing { base, .. } if base == template));
}

#[test]
fn files_of_another_size_and_directories_of_others_are_refused() {
    let (_temporary, home) = home();
    let path = home.templates().path("t");
    put(&path, &manifest(Kind::Template, "t", None));
    Saved::open(&path).unwrap();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let error = Saved::open(&path).unwrap_err();
    assert!(matches!(error, SavedError::Unsafe { .. }), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();

    fs::write(path.join(STATE_FILE), b"longer than it was").unwrap();
    let error = Saved::open(&path).unwrap_err();
    assert!(
        matches!(&error, SavedError::Size { path, expected: 5, .. } if path.ends_with(STATE_FILE)),
        "{error}"
    );
    fs::write(path.join(STATE_FILE), STATE).unwrap();

    fs::write(path.join(MEMORY_FILE), vec![0; 1 << 20]).unwrap();
    let error = Saved::open(&path).unwrap_err();
    assert!(
        matches!(&error, SavedError::Size { path, .. } if path.ends_with(MEMORY_FILE)),
        "{error}"
    );
}

#[test]
fn a_content_that_differs_from_its_digest_is_named() {
    let (_temporary, home) = home();
    let path = home.templates().path("t");
    put(&path, &manifest(Kind::Template, "t", None));
    let error = Saved::open(&path).unwrap().verify().unwrap_err();
    assert!(matches!(&error, SavedError::State { path, .. } if path.ends_with(STATE_FILE)));
    let error = Saved::open(&path).unwrap().verify_memory().unwrap_err();
    assert!(matches!(&error, SavedError::Memory { path, .. } if path.ends_with(MEMORY_FILE)));
}
