use super::*;
use crate::cancel::Cancel;
use proptest::prelude::*;
use std::io::Write;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self, bytes: &[u8]) -> Result<Tarball, TarballError> {
        let path = self.dir.path().join("archive");
        std::fs::write(&path, bytes).unwrap();
        let patience = Patience {
            cancel: Cancel::new(),
            deadline: None,
        };
        Tarball::open(&path, self.dir.path(), &patience)
    }
}

fn archive(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content).unwrap();
}

fn link(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    builder.append_link(&mut header, name, target).unwrap();
}

use tar::EntryType;

fn read(tarball: &Tarball, name: &str) -> Option<Vec<u8>> {
    tarball.read(name, 1 << 20).unwrap()
}

#[test]
fn members_are_found_by_name_in_any_order() {
    let bench = Bench::new();
    let long = format!("blobs/sha256/{}", "a".repeat(200));
    let bytes = archive(|tar| {
        file(tar, "./index.json", b"index");
        file(tar, "empty", b"");
        file(tar, &long, b"long name");
        file(tar, "dir/file", &vec![7; 1000]);
        file(tar, "index.json", b"the later one counts");
    });
    let tarball = bench.open(&bytes).unwrap();
    assert_eq!(read(&tarball, "dir/file").unwrap(), vec![7; 1000]);
    assert_eq!(read(&tarball, &long).unwrap(), b"long name");
    assert_eq!(
        read(&tarball, "index.json").unwrap(),
        b"the later one counts"
    );
    assert_eq!(read(&tarball, "empty").unwrap(), b"");
    assert_eq!(read(&tarball, "absent"), None);
}

#[test]
fn links_lead_to_files_inside_and_nowhere_else() {
    let bench = Bench::new();
    let bytes = archive(|tar| {
        file(tar, "a/layer.tar", b"layer");
        link(tar, EntryType::Symlink, "b/layer.tar", "../a/layer.tar");
        link(tar, EntryType::Link, "c/layer.tar", "b/layer.tar");
        link(tar, EntryType::Symlink, "out", "../../etc/passwd");
        link(tar, EntryType::Symlink, "loop", "loop");
        link(tar, EntryType::Symlink, "absolute", "/a/layer.tar");
    });
    let tarball = bench.open(&bytes).unwrap();
    assert_eq!(read(&tarball, "b/layer.tar").unwrap(), b"layer");
    assert_eq!(read(&tarball, "c/layer.tar").unwrap(), b"layer");
    for name in ["out", "loop"] {
        assert_eq!(read(&tarball, name), None, "{name}");
    }
}

#[test]
fn compressed_archives_read_the_same_and_leave_nothing() {
    let bench = Bench::new();
    let bytes = archive(|tar| file(tar, "f", &vec![9; 3 << 20]));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    for compressed in [
        gzip.finish().unwrap(),
        zstd::bulk::compress(&bytes, 1).unwrap(),
    ] {
        let tarball = bench.open(&compressed).unwrap();
        assert_eq!(
            tarball.read("f", 4 << 20).unwrap().unwrap(),
            vec![9; 3 << 20]
        );
        assert_eq!(
            std::fs::read_dir(bench.dir.path().join("tmp"))
                .unwrap()
                .count(),
            0
        );
    }
    let mut cut = zstd::bulk::compress(&bytes, 1).unwrap();
    cut.truncate(cut.len() / 2);
    assert!(matches!(
        bench.open(&cut),
        Err(TarballError::Decompress { .. })
    ));
    let xz = [0xfd, b'7', b'z', b'X', b'Z', 0, 0];
    assert!(matches!(
        bench.open(&xz),
        Err(TarballError::Decompress { .. })
    ));
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let bench = Bench::new();
    assert!(matches!(
        bench.open(&[1; 2000]),
        Err(TarballError::Malformed { offset: 0, .. })
    ));
    let good = archive(|tar| file(tar, "f", &[1; 600]));
    assert!(matches!(
        bench.open(&good[..1000]),
        Err(TarballError::Malformed { .. })
    ));
    let mut bad_sum = good;
    bad_sum[0] ^= 1;
    assert!(matches!(
        bench.open(&bad_sum),
        Err(TarballError::Malformed { .. })
    ));
    let patience = Patience {
        cancel: Cancel::new(),
        deadline: None,
    };
    let dir = Tarball::open(bench.dir.path(), bench.dir.path(), &patience);
    assert!(matches!(
        dir,
        Err(TarballError::Files(FilesError::NotAFile { .. }))
    ));
    let absent = Tarball::open(
        &bench.dir.path().join("absent"),
        bench.dir.path(),
        &patience,
    );
    assert!(matches!(
        absent,
        Err(TarballError::Files(FilesError::Read { .. }))
    ));
}

#[test]
fn an_extended_header_of_any_length_takes_no_memory() {
    let bench = Bench::new();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    assert!(matches!(
        bench.open(header.as_bytes()),
        Err(TarballError::Malformed { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_never_panics_or_hangs(at in 0_usize..4096, bit in 0_u8..8) {
        let bench = Bench::new();
        let mut bytes = archive(|tar| {
            file(tar, &"n".repeat(150), b"content");
            link(tar, EntryType::Symlink, "l", "f");
            file(tar, "f", b"other");
        });
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(tarball) = bench.open(&bytes) {
            let _ = tarball.read("f", 1 << 20);
            let _ = tarball.read("l", 1 << 20);
        }
    }
}
