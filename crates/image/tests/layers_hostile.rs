//! Archives no honest program writes: refused with the entry's name, and nothing is left behind.

mod common;

use common::archive::{self, Archive, Member};
use common::disk::Home;
use image::digest::Digest;
use image::layer::{LayerError, Limits, Malformation, Refusal};
use image::root::RootError;

/// The entry an archive is refused for, and the reason.
#[track_caller]
fn refusal_within(members: impl IntoIterator<Item = Member>, limits: &Limits) -> (String, Refusal) {
    let home = Home::new();
    let tar = Archive::of(members);
    let error = home
        .layers
        .import(&Digest::of(&tar), &mut &tar[..], limits)
        .unwrap_err();
    assert!(home.leftovers().is_empty() && home.layers.list().unwrap().is_empty());
    match error {
        LayerError::Refused { entry, reason } => {
            (String::from_utf8_lossy(&entry.0).into_owned(), reason)
        }
        error => panic!("{error:?}"),
    }
}

#[track_caller]
fn refusal(members: impl IntoIterator<Item = Member>) -> (String, Refusal) {
    refusal_within(members, &Limits::default())
}

#[track_caller]
fn assert_refused(entry: &str, reason: &Refusal, members: impl IntoIterator<Item = Member>) {
    assert_eq!(refusal(members), (entry.to_owned(), reason.clone()));
}

#[track_caller]
fn malformation(tar: &[u8]) -> (u64, Malformation) {
    let home = Home::new();
    let error = home.import(tar).unwrap_err();
    assert!(home.leftovers().is_empty() && home.layers.list().unwrap().is_empty());
    match error {
        LayerError::Malformed { offset, reason } => (offset, reason),
        error => panic!("{error:?}"),
    }
}

#[track_caller]
fn accept(members: impl IntoIterator<Item = Member>) {
    Home::new().import(&Archive::of(members)).unwrap();
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["/etc/passwd", "//x", "/"] {
        assert_refused(name, &Refusal::Absolute, [Member::file(name, "")]);
    }
    for name in ["../x", "a/../../x", "a/..", ".."] {
        assert_refused(name, &Refusal::ParentComponent, [Member::directory(name)]);
    }
    assert_refused(
        "a/../.wh.x",
        &Refusal::ParentComponent,
        [Member::file("a/../.wh.x", "")],
    );
    assert_refused("", &Refusal::EmptyName, [Member::file("", "")]);
    assert_refused(
        "a\0b",
        &Refusal::NulByte,
        [Member::file("x", "").record("path", "a\0b")],
    );
}

#[test]
fn names_that_fit_nowhere_are_refused() {
    let long = "n".repeat(256);
    assert_refused(&long, &Refusal::NameTooLong, [Member::file(&long, "")]);
    let deep = "d/".repeat(2048);
    assert_refused(
        &format!("{deep}f"),
        &Refusal::PathTooLong,
        [Member::file(format!("{deep}f"), "")],
    );
    accept([Member::file(format!("{}f", "d/".repeat(2047)), "")]);
    assert_refused(".", &Refusal::RootNotDirectory, [Member::file(".", "")]);
}

#[test]
fn nothing_is_written_through_a_link() {
    let below =
        |name: &str| Refusal::BelowNonDirectory(image::layer::EntryName(name.as_bytes().into()));
    let link = || Member::symlink("out", "/tmp");
    assert_refused("out/x", &below("out"), [link(), Member::file("out/x", "")]);
    assert_refused(
        "out/a/b",
        &below("out"),
        [link(), Member::directory("out/a/b")],
    );
    assert_refused(
        "out/.wh.x",
        &below("out"),
        [link(), Member::file("out/.wh.x", "")],
    );
    assert_refused(
        "out/.wh..wh..opq",
        &below("out"),
        [link(), Member::file("out/.wh..wh..opq", "")],
    );
    assert_refused(
        "a/f/x",
        &below("a/f"),
        [Member::file("a/f", ""), Member::symlink("a/f/x", "y")],
    );
    // A directory that becomes a link while the archive is read.
    let swapped = [
        Member::directory("d"),
        Member::symlink("d", "/etc"),
        Member::file("d/passwd", ""),
    ];
    assert_refused("d/passwd", &below("d"), swapped);
}

#[test]
fn hardlinks_reach_only_files_of_the_image() {
    let target = |name: &str| image::layer::EntryName(name.as_bytes().into());
    let out = |name: &str, reason| Refusal::LinkTarget(target(name), Box::new(reason));
    let link = |name: &str| [Member::hardlink("l", name)];
    assert_refused(
        "l",
        &out("/etc/shadow", Refusal::Absolute),
        link("/etc/shadow"),
    );
    assert_refused(
        "l",
        &out("../../etc/shadow", Refusal::ParentComponent),
        link("../../etc/shadow"),
    );
    assert_refused("l", &out("", Refusal::EmptyName), link(""));
    let directory = Refusal::LinkToDirectory(target("d"));
    assert_refused(
        "l",
        &directory,
        [Member::directory("d"), Member::hardlink("l", "d")],
    );
    let missing = Refusal::LinkTargetMissing(target("s/shadow"));
    assert_refused(
        "l",
        &missing,
        [
            Member::symlink("s", "/etc"),
            Member::hardlink("l", "s/shadow"),
        ],
    );
}

#[test]
fn hardlinks_into_the_layers_below_need_a_target_there() {
    let home = Home::new();
    let bottom = Archive::of([
        Member::directory("d"),
        Member::symlink("s", "d"),
        Member::file("d/f", ""),
    ]);
    let compose = |target: &str| {
        let top = Archive::of([Member::hardlink("x/link", target)]);
        let layers = [home.import(&bottom).unwrap(), home.import(&top).unwrap()];
        home.roots.compose(&layers)
    };
    assert!(compose("d/f").is_ok());
    for (target, is_directory) in [
        ("d", true),
        ("nowhere", false),
        ("s/f", false),
        ("d/f/x", false),
    ] {
        let RootError::Refused { entry, reason, .. } = compose(target).unwrap_err() else {
            panic!("{target}")
        };
        assert_eq!(&*entry.0, b"x/link");
        assert_eq!(
            matches!(reason, Refusal::LinkToDirectory(_)),
            is_directory,
            "{reason:?}"
        );
    }
    assert!(home.leftovers().is_empty());
}

#[test]
fn odd_whiteouts_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b"] {
        assert_refused(name, &Refusal::Whiteout, [Member::file(name, "")]);
    }
    accept([
        Member::directory(".wh..wh.plnk"),
        Member::file(".wh..wh.plnk/1.2", ""),
        Member::file(".wh..wh.aufs", ""),
    ]);
    // The type of a whiteout does not matter, nor its data.
    accept([
        Member::file(".wh.a", "some data"),
        Member::device(b'3', "b/.wh.c", 0, 0),
        Member::symlink(".wh.d", "x"),
    ]);
}

#[test]
fn what_no_inode_holds_is_refused() {
    assert_refused("f", &Refusal::Type(b'V'), [Member::new(b'V', "f")]);
    assert_refused("s", &Refusal::SymlinkTarget(0), [Member::symlink("s", "")]);
    assert_refused(
        "s",
        &Refusal::SymlinkTarget(4096),
        [Member::symlink("s", "x".repeat(4096))],
    );
    assert_refused(
        "f",
        &Refusal::Id(1 << 32),
        [Member::file("f", "").owner(1 << 32, 0)],
    );
    assert_refused(
        "f",
        &Refusal::Id(-1),
        [Member::file("f", "").record("gid", "-1")],
    );
    assert_refused(
        "d",
        &Refusal::DeviceNumber(4096, 0),
        [Member::device(b'3', "d", 4096, 0)],
    );
    assert_refused(
        "d",
        &Refusal::DeviceNumber(0, 1 << 20),
        [Member::device(b'4', "d", 0, 1 << 20)],
    );
    assert_refused(
        "f",
        &Refusal::Size(-5),
        [Member::file("f", "").record("size", "-5")],
    );
    assert_refused(
        "f",
        &Refusal::XattrName,
        [Member::file("f", "").xattr("user.", "x")],
    );
    assert_refused(
        "f",
        &Refusal::Acl,
        [Member::file("f", "").xattr("system.posix_acl_access", "x")],
    );
    let big = |name: &str| (name.to_owned(), vec![b'x'; 65_535]);
    let full = ["user.a", "user.b", "user.c", "user.d"].map(big);
    let member = full
        .into_iter()
        .fold(Member::file("f", ""), |member, (name, value)| {
            member.xattr(&name, value)
        });
    assert_refused("f", &Refusal::XattrTotal, [member]);
}

#[test]
fn maps_of_sparse_files_must_add_up() {
    let sparse = |map: &str, size: &str, data: &str| {
        let member = Member::file("f", data)
            .record("GNU.sparse.map", map)
            .record("GNU.sparse.size", size);
        member
            .record("GNU.sparse.major", "0")
            .record("GNU.sparse.minor", "1")
    };
    accept([sparse("0,1,4096,2", "5000", "abc")]);
    let wrong = [
        ("0,1,4096", "5000", "abc"),
        ("4096,1,0,2", "5000", "abc"),
        ("0,2,1,1", "5000", "abc"),
        ("0,1,4096,3", "5000", "abc"),
        ("0,1,4999,2", "5000", "abc"),
        ("0,1,9223372036854775807,2", "5000", "abc"),
        ("-1,3", "5000", "abc"),
    ];
    for (map, size, data) in wrong {
        assert_refused("f", &Refusal::SparseMap, [sparse(map, size, data)]);
    }
    let leading = |map: &str| {
        let data = [map.as_bytes(), &[0; 512]].concat()[..512].to_vec();
        let member = Member::file("f", data).record("GNU.sparse.realsize", "9000");
        member
            .record("GNU.sparse.major", "1")
            .record("GNU.sparse.minor", "0")
    };
    accept([leading("1\n0\n0\n")]);
    for map in [
        "",
        "1\n0\n",
        "x\n",
        "\n",
        "1048577\n",
        "99999999999999999999\n",
        "1\n0\n1\n",
    ] {
        assert_refused("f", &Refusal::SparseMap, [leading(map)]);
    }
}

#[test]
fn bombs_hit_the_limits() {
    let limit = |limit, what| Refusal::Limit { limit, what };
    let files = |count: usize| (0..count).map(|number| Member::file(format!("f{number}"), ""));
    let limits = Limits {
        max_entries: 10,
        ..Limits::default()
    };
    accept(files(10));
    let (entry, reason) = refusal_within(files(11), &limits);
    assert_eq!((&*entry, reason), ("f10", limit(10, "entries in a layer")));
    // Directories that are only implied count as well.
    let (_, reason) = refusal_within([Member::file("d/".repeat(11) + "f", "")], &limits);
    assert_eq!(reason, limit(10, "entries in a layer"));

    let limits = Limits {
        max_devices: 3,
        ..Limits::default()
    };
    let devices = (0..4).map(|number| Member::device(b'3', format!("d{number}"), 1, number));
    assert_eq!(
        refusal_within(devices, &limits),
        ("d3".to_owned(), limit(3, "devices in a layer"))
    );

    let limits = Limits {
        max_metadata_bytes: 1000,
        ..Limits::default()
    };
    let links = (0..5).map(|number| Member::symlink(format!("l{number}"), "x".repeat(300)));
    let what = "bytes of names and attributes in a layer";
    assert_eq!(
        refusal_within(links, &limits),
        ("l3".to_owned(), limit(1000, what))
    );

    let huge = |size: u64| Member {
        size: Some(size),
        ..Member::file("huge", "")
    };
    let (_, reason) = refusal([huge(2 << 40)]);
    assert_eq!(reason, limit(1 << 40, "bytes in a file"));
    let hole = |name: &str| {
        let member = Member::file(name, "")
            .record("GNU.sparse.map", "0,0")
            .record("GNU.sparse.size", "600");
        member
            .record("GNU.sparse.major", "0")
            .record("GNU.sparse.minor", "1")
    };
    let limits = Limits {
        max_data_bytes: 4500,
        ..Limits::default()
    };
    let holes = [hole("a"), hole("b")];
    assert_eq!(
        refusal_within(holes.clone(), &limits).1,
        limit(4500, "bytes of files in a layer")
    );
    let limits = Limits {
        max_stream_bytes: 2000,
        ..Limits::default()
    };
    assert_eq!(
        refusal_within(holes, &limits).1,
        limit(2000, "uncompressed bytes in a layer")
    );
}

#[test]
fn archives_that_end_early_or_make_no_sense_are_malformed() {
    let good = Archive::of([Member::file("a", "x"), Member::file("b", [1; 600])]);
    for cut in [100, 512 + 5, 1024 + 300, 1024 + 512 + 600] {
        assert_eq!(
            malformation(&good[..cut]).1,
            Malformation::Truncated,
            "cut to {cut}"
        );
    }
    // Cut between members, or without the zeros at the end: allowed, old archivers do it.
    for cut in [0, 1024, 1024 + 512 + 1024, good.len() - 512] {
        Home::new().import(&good[..cut]).unwrap();
    }
    let mut flipped = good;
    flipped[1024] ^= 1;
    assert_eq!(malformation(&flipped), (1024, Malformation::Checksum));
    assert_eq!(
        malformation(&[b"not a tar"[..].to_vec(), vec![7; 600]].concat()).0,
        0
    );
    let mut lone = Archive::default();
    lone.bytes(&[0; 512]);
    lone.push(Member::file("a", ""));
    assert_eq!(
        malformation(&lone.finish()),
        (0, Malformation::LoneZeroBlock)
    );

    let with_field = |at: std::ops::Range<usize>, bytes: &[u8]| {
        let mut header = archive::header(&Member::file("a", ""));
        header[at].copy_from_slice(bytes);
        archive::seal(&mut header);
        header
    };
    assert_eq!(
        malformation(&with_field(108..116, b"12x4567\0")),
        (0, Malformation::Number("uid"))
    );
    assert_eq!(
        malformation(&with_field(124..136, b"\x80\x01\0\0\0\0\0\0\0\0\0\0")),
        (0, Malformation::Number("size"))
    );
}

#[test]
fn extensions_are_bounded_and_belong_to_an_entry() {
    let extension = |flag, size: Option<u64>, data: &[u8]| Member {
        size,
        ..Member {
            data: data.to_vec(),
            ..Member::new(flag, "x")
        }
    };
    for flag in *b"xgLK" {
        let mut tar = Archive::default();
        tar.raw(&extension(flag, Some((1 << 20) + 1), b""));
        assert_eq!(malformation(&tar.finish()).1, Malformation::ExtensionSize);
    }
    for flag in *b"xLK" {
        let mut tar = Archive::default();
        tar.raw(&extension(flag, None, b"6 a=b\n"));
        assert_eq!(malformation(&tar.finish()).1, Malformation::LoneExtension);
    }
    let mut tar = Archive::default();
    tar.raw(&extension(b'x', None, b"7 a=b\n"));
    tar.raw(&Member::file("a", ""));
    assert_eq!(malformation(&tar.finish()), (0, Malformation::Pax));
    // Global headers mean nothing to engines, so nothing to us.
    let mut tar = Archive::default();
    tar.raw(&extension(
        b'g',
        None,
        &archive::record(b"path", b"../evil"),
    ));
    tar.push(Member::file("a", ""));
    Home::new().import(&tar.finish()).unwrap();
}

#[test]
fn bytes_after_the_end_count_in_the_digest() {
    let home = Home::new();
    let tar = [
        Archive::of([Member::file("a", "x")]),
        vec![0; 10_240],
        b"garbage".to_vec(),
    ]
    .concat();
    home.import(&tar).unwrap();
    let short = &tar[..tar.len() - 1];
    let error = home.layers.import(
        &Digest::of(&[&tar[..], b"x"].concat()),
        &mut &short[..],
        &Limits::default(),
    );
    let LayerError::DiffId { found, .. } = error.unwrap_err() else {
        panic!("accepted")
    };
    assert_eq!(found, Digest::of(short));
    assert!(home.leftovers().is_empty());
}

#[test]
fn a_failing_stream_is_its_own_error() {
    use std::io::{self, Read};
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("connection reset"))
        }
    }
    let home = Home::new();
    let tar = Archive::of([Member::file("a", "x")]);
    let result = home.layers.import(
        &Digest::of(&tar),
        &mut tar[..700].chain(Broken),
        &Limits::default(),
    );
    assert!(matches!(result, Err(LayerError::Read(_))));
    assert!(home.leftovers().is_empty());
}
