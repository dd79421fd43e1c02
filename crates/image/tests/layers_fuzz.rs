//! Archives spoiled at random: refused or accepted, never a panic, and what is accepted is a sound disk.

mod common;

use common::archive::{Archive, Member, record, seal};
use common::disk::{self, Home};
use image::digest::Digest;
use image::layer::{LayerError, Limits};
use image::root::RootError;
use proptest::prelude::*;

/// One member of every kind and extension, so that a changed byte hits something.
fn base() -> Vec<u8> {
    let sparse = |major: &str, minor: &str| {
        Member::file(
            "sparse",
            b"1\n8192\n3\n"
                .iter()
                .copied()
                .chain([0; 503])
                .chain(*b"end")
                .collect::<Vec<u8>>(),
        )
        .record("GNU.sparse.major", major)
        .record("GNU.sparse.minor", minor)
        .record("GNU.sparse.name", "sparse")
        .record("GNU.sparse.realsize", "10000")
    };
    let mut archive = Archive::default();
    archive.push(Member::directory("d"));
    archive.push(
        Member::file("d/file", [7; 700])
            .xattr("user.a", "value")
            .record("mtime", "-1.5"),
    );
    archive.push(Member::hardlink("d/link", "d/file"));
    archive.push(Member::symlink("symlink", "../target"));
    archive.push(Member::device(b'3', "device", 1, 3));
    archive.push(Member::new(b'6', "fifo"));
    archive.push(sparse("1", "0"));
    archive.push(
        Member::file("map", "abc")
            .record("GNU.sparse.map", "0,1,5000,2")
            .record("GNU.sparse.size", "6000"),
    );
    archive.raw(&Member {
        data: b"long-name\0".to_vec(),
        ..Member::new(b'L', "././@LongLink")
    });
    archive.push(Member::file("short", "x"));
    archive.raw(&Member {
        data: record(b"comment", b"global"),
        ..Member::new(b'g', "global")
    });
    archive.push(Member::file("d/.wh.gone", ""));
    archive.push(Member::file("d/.wh..wh..opq", ""));
    archive.finish()
}

/// Where the headers are: blocks with the magic.
fn headers(tar: &[u8]) -> Vec<usize> {
    (0..tar.len())
        .step_by(512)
        .filter(|at| tar[at + 257..].starts_with(b"ustar"))
        .collect()
}

fn spoil() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\0 /.0179-\n=\x80\xff".to_vec())
    ];
    prop::collection::vec((any::<prop::sample::Index>(), byte), 1..6)
}

fn check(tar: &[u8]) {
    let home = Home::new();
    // What is accepted is read in full below.
    let limits = Limits {
        max_data_bytes: 64 << 20,
        ..Limits::default()
    };
    let layer = match home.layers.import(&Digest::of(tar), &mut &tar[..], &limits) {
        Ok(layer) => layer,
        Err(LayerError::Malformed { .. } | LayerError::Refused { .. }) => {
            assert!(home.leftovers().is_empty());
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    home.layers.verify(&layer).unwrap();
    match home.roots.compose(&[layer]) {
        Ok(root) => drop(disk::read(&root)),
        Err(RootError::Refused { .. }) => {}
        Err(error) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spoiled_archives_are_refused_or_sound(changes in spoil()) {
        let mut tar = base();
        let headers = headers(&tar);
        for (index, byte) in changes {
            let at = index.index(tar.len());
            tar[at] = byte;
        }
        for at in headers {
            seal((&mut tar[at..at + 512]).try_into().unwrap());
        }
        check(&tar);
    }

    #[test]
    fn spoiled_headers_are_refused_or_sound(changes in spoil()) {
        let mut tar = base();
        let headers = headers(&tar);
        for (index, byte) in changes {
            let at = index.index(headers.len() * 345);
            tar[headers[at / 345] + at % 345] = byte;
        }
        for at in headers {
            seal((&mut tar[at..at + 512]).try_into().unwrap());
        }
        check(&tar);
    }

    #[test]
    fn any_extended_header_is_refused_or_sound(content in prop::collection::vec(any::<u8>(), 0..300), key in "[a-zA-Z.]{1,20}", value in prop::collection::vec(any::<u8>(), 0..50)) {
        for content in [content, record(key.as_bytes(), &value)] {
            let mut archive = Archive::default();
            archive.raw(&Member { data: content, ..Member::new(b'x', "x") });
            archive.push(Member::file("file", "x"));
            check(&archive.finish());
        }
    }
}

#[test]
fn the_base_is_good() {
    let home = Home::new();
    assert_eq!(disk::read(&home.compose(&[base()])).len(), 10);
}
