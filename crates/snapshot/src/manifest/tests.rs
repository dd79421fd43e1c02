//! The manifest: what is written is read, what was edited is refused.

use super::{
    Cpu, Disk, FORMAT, Host, Image, Kernel, Kind, MAX_BYTES, Manifest, ManifestError, Memory,
    StateFile,
};
use crate::Digest;
use proptest::prelude::*;
use serde_json::{Value, json};

fn manifest() -> Manifest {
    Manifest {
        kind: Kind::Snapshot,
        name: "warm \"python\"\nπ".to_owned(),
        created_ns: 1_700_000_000_123_456_789,
        release: "0.1.0".to_owned(),
        kernel: Kernel {
            flavor: "software-kvm".to_owned(),
            digest: Digest::of(b"kernel"),
        },
        initramfs: Digest::of(b"initramfs"),
        memory_mib: 512,
        vcpus: 1,
        cpu: Cpu {
            vendor: "GenuineIntel".to_owned(),
            family: 6,
            model: 143,
            stepping: 8,
        },
        host: Host {
            boot_id: "6f1e6d0c-3b0e-4a52-8b1c-4f3c9d2a7e55".to_owned(),
            kernel: "6.18.0".to_owned(),
        },
        base: Some(Digest::of(b"base")),
        state: StateFile {
            bytes: 12_345,
            digest: Digest::of(b"state"),
        },
        memory: Memory {
            pages: 4711,
            digest: Digest::of(b"memory"),
        },
        image: Some(Image {
            reference: "docker.io/library/python:3.12-slim".to_owned(),
            digest: Digest::of(b"image"),
        }),
        disks: vec![
            Disk {
                slot: 0,
                bytes: 123 << 20,
                files: vec![],
            },
            Disk {
                slot: 1,
                bytes: 10 << 30,
                files: vec!["disk-1.0".to_owned(), "disk-1".to_owned()],
            },
        ],
        workload: json!({"zebra": [1, {"b": null, "a": -5}], "argv": ["sh"], "big": u64::MAX}),
    }
}

/// The document with one text in the place of another, sealed again.
fn sealed(from: &str, to: &str) -> Vec<u8> {
    let text = manifest().to_json();
    assert!(text.contains(from));
    let text = text.replacen(from, to, 1);
    let (content, _) = text.rsplit_once(",\n  \"digest\"").unwrap();
    let digest = Digest::of(content.as_bytes());
    format!("{content},\n  \"digest\": \"{digest}\"\n}}\n").into_bytes()
}

#[test]
fn what_was_written_is_read() {
    let manifest = manifest();
    let text = manifest.to_json();
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["digest"], manifest.digest().to_string());
    assert_eq!(document["format"], FORMAT);
}

#[test]
fn another_format_is_refused_with_both_numbers_whatever_else_it_says() {
    let error = Manifest::parse(br#"{"format": 1, "all": "new"}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the manifest has format 1, this release reads 2"
    );
}

#[test]
fn an_edited_document_is_refused() {
    let text = manifest().to_json();
    let edited = text.replace("\"vcpus\": 1", "\"vcpus\": 2");
    let error = Manifest::parse(edited.as_bytes()).unwrap_err();
    assert!(matches!(error, ManifestError::Damaged { .. }), "{error}");
    let reformatted = serde_json::from_str::<Value>(&text).unwrap().to_string();
    let error = Manifest::parse(reformatted.as_bytes()).unwrap_err();
    assert!(matches!(error, ManifestError::Unsealed), "{error}");
}

#[test]
fn a_sealed_document_that_makes_no_sense_is_refused() {
    let unknown = sealed("\"vcpus\": 1,", "\"vcpus\": 1,\n    \"gpus\": 1,");
    let error = Manifest::parse(&unknown).unwrap_err();
    assert!(matches!(error, ManifestError::Malformed(_)), "{error}");
    let spaced = sealed("\"vcpus\": 1", "\"vcpus\":  1");
    let error = Manifest::parse(&spaced).unwrap_err();
    assert!(matches!(error, ManifestError::NotCanonical), "{error}");
}

#[test]
fn a_disk_outside_the_directory_is_refused() {
    for file in [
        "",
        ".",
        "..",
        "../disk",
        "/etc/passwd",
        ".hidden",
        "a/b",
        "a\\u0000",
    ] {
        let error = Manifest::parse(&sealed("disk-1.0", file)).unwrap_err();
        assert!(
            matches!(error, ManifestError::DiskFile { slot: 1, .. }),
            "{file}: {error}"
        );
    }
}

#[test]
fn every_truncation_is_refused() {
    let text = manifest().to_json();
    for length in 0..text.len() {
        assert!(
            Manifest::parse(&text.as_bytes()[..length]).is_err(),
            "{length}"
        );
    }
}

#[test]
fn a_document_too_long_is_refused_unread() {
    let error = Manifest::parse(&vec![b'['; MAX_BYTES + 1]).unwrap_err();
    assert!(matches!(error, ManifestError::TooLong { .. }));
    // The deepest that may be read is no deeper than the parser goes.
    assert!(Manifest::parse(&vec![b'['; MAX_BYTES]).is_err());
}

#[test]
fn the_digest_does_not_depend_on_the_order_of_names() {
    let mut other = manifest();
    other.workload = json!({"big": u64::MAX, "argv": ["sh"], "zebra": [1, {"a": -5, "b": null}]});
    assert_eq!(other.digest(), manifest().digest());
}

/// The text is on people's disks, and its digest is how snapshots name each other. If this test fails, `FORMAT`
/// counts up, docs/snapshot-format.md says what changed, and the new text is frozen here.
#[test]
fn the_text_of_a_manifest_is_frozen() {
    assert_eq!(FORMAT, 2);
    assert_eq!(manifest().to_json(), include_str!("golden.json"));
}

proptest! {
    #[test]
    fn any_flip_of_any_bit_is_refused(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let mut bytes = manifest().to_json().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Manifest::parse(&bytes).is_err());
    }

    #[test]
    fn any_text_survives(name in any::<String>(), key in any::<String>(), number in any::<i64>()) {
        let mut manifest = manifest();
        manifest.name = name;
        manifest.workload = json!({ key: number });
        prop_assert_eq!(Manifest::parse(manifest.to_json().as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Manifest::parse(&bytes).is_err());
    }
}
