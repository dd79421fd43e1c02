//! What is sent arrives as it was; what somebody else packed is refused by what is wrong with it.

use super::entry::Packer;
use super::{ArchiveError, Arriving, Entry, send};
use crate::home::Home;
use crate::record::SCRATCH;
use crate::saved::tests::{home, manifest};
use crate::saved::{MANIFEST, MEMORY_FILE, STATE_FILE, Saved, SavedError, Staging, disk};
use ::snapshot::manifest::{Disk, Kind, Manifest, Memory, StateFile};
use ::snapshot::memory::{PAGE_SIZE, Run, RunKind, digest, write_runs};
use ::snapshot::{Digest, StateWriter};
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};

const RAM: u64 = 1 << 20;
const DISK: u64 = 64 << 20;

/// A change of a manifest.
type Lie = fn(&mut Manifest);

/// A page in its layer: number, and what it is full of.
type Page = (u64, u8);

/// Puts a whole snapshot on the shelf, with something at the start and at the end of its disk.
fn put(home: &Home, name: &str, base: Option<Digest>, pages: &[Page]) -> Saved {
    let dir = home.snapshots().path(name);
    DirBuilder::new().mode(0o700).create(&dir).unwrap();
    let mut state = StateWriter::new();
    state.put_bytes("machine", 1, &[7; 500]);
    let state = state.finish();
    fs::write(dir.join(STATE_FILE), &state).unwrap();
    let memory = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.join(MEMORY_FILE))
        .unwrap();
    let mut runs = Vec::new();
    for &(first, byte) in pages {
        let bytes = [byte; PAGE_SIZE as usize];
        memory.write_all_at(&bytes, first * PAGE_SIZE).unwrap();
        runs.push(Run {
            first,
            pages: 1,
            kind: RunKind::Data,
        });
    }
    write_runs(&memory, RAM, &runs).unwrap();
    let scratch = File::create(dir.join(SCRATCH)).unwrap();
    scratch.set_len(DISK).unwrap();
    scratch.write_all_at(b"first", 5000).unwrap();
    scratch.write_all_at(b"last", DISK - 4).unwrap();
    let mut manifest = Manifest {
        state: StateFile {
            bytes: state.len() as u64,
            digest: Digest::of(&state),
        },
        memory: Memory {
            pages: pages.len() as u64,
            digest: digest(&memory, RAM).unwrap(),
        },
        disks: vec![Disk {
            slot: proto::guest::disk::SCRATCH,
            bytes: DISK,
            files: vec![SCRATCH.to_owned()],
        }],
        ..manifest(Kind::Snapshot, name, base)
    };
    let digest = disk::digest(&dir, &[SCRATCH.to_owned()]).unwrap();
    manifest.workload = serde_json::json!({ "disk_digest": digest.to_string() });
    fs::write(dir.join(MANIFEST), manifest.to_json()).unwrap();
    Saved::open(&dir).unwrap()
}

/// The archive of a snapshot that builds upon another one.
fn archive(home: &Home) -> Vec<u8> {
    let base = put(home, "base", None, &[(1, 1), (2, 2), (200, 3)]);
    let saved = put(home, "top", Some(base.digest), &[(2, 9), (7, 7)]);
    let mut archive = Vec::new();
    send(&saved, home, &mut archive).unwrap();
    archive
}

/// Unpacks as far as it goes; nothing is left of what fails.
fn receive(home: &Home, archive: &[u8], name: &str) -> Result<Saved, SavedError> {
    let shelf = home.snapshots();
    let before = shelf.names()?.len();
    let result = (|| {
        let arriving = Arriving::new(archive)?;
        let staging = Staging::create(shelf.dir())?;
        arriving.unpack(&staging, name)?;
        assert!(staging.publish(&shelf.path(name))?);
        Saved::open(&shelf.path(name))
    })();
    let entries = fs::read_dir(shelf.dir()).unwrap();
    let dirs = entries.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(dirs.count(), before + usize::from(result.is_ok()));
    result
}

#[track_caller]
fn refused(home: &Home, archive: &[u8]) -> ArchiveError {
    match receive(home, archive, "hostile") {
        Err(SavedError::Archive(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn unpacked(archive: &[u8]) -> Vec<u8> {
    zstd::decode_all(archive).unwrap()
}

fn packed(tar: &[u8]) -> Vec<u8> {
    zstd::encode_all(tar, 1).unwrap()
}

/// The contents of the entries, as another reader of archives sees them.
fn contents(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let tar = unpacked(archive);
    let mut reader = tar::Archive::new(&*tar);
    let entries = reader.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    entries.collect()
}

/// The archive with another manifest, all else being as it was.
fn with_manifest(archive: &[u8], change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let contents = contents(archive);
    let mut manifest = Manifest::parse(&contents[1].1).unwrap();
    change(&mut manifest);
    let manifest = manifest.to_json().into_bytes();
    let mut bytes = Vec::new();
    let mut packer = Packer::new(&mut bytes).unwrap();
    let parts = [
        (Entry::Format, &contents[0].1),
        (Entry::Manifest, &manifest),
        (Entry::State, &contents[2].1),
        (Entry::Memory, &contents[3].1),
        (Entry::Disk, &contents[4].1),
    ];
    for (entry, content) in parts {
        packer
            .entry(entry, content.len() as u64, |to| {
                to.write_all(content).unwrap();
                Ok::<_, ArchiveError>(())
            })
            .unwrap();
    }
    packer.finish().unwrap();
    bytes
}

/// Where the header of an entry is in the tar.
fn header_of(tar: &[u8], entry: Entry) -> usize {
    let name = entry.name().as_bytes();
    let is_header = |at: &usize| tar[*at..].starts_with(name) && tar[at + name.len()] == 0;
    (0..tar.len()).step_by(512).find(is_header).unwrap()
}

#[test]
fn layers_arrive_as_one_under_another_name_with_their_holes() {
    let (_temporary, home) = home();
    let archive = archive(&home);
    let saved = receive(&home, &archive, "other").unwrap();
    saved.verify().unwrap();
    assert_eq!(saved.manifest.name, "other");
    assert_eq!(
        (saved.manifest.base, saved.manifest.memory.pages),
        (None, 4)
    );
    let memory = fs::read(saved.dir.join(MEMORY_FILE)).unwrap();
    let pages = [(1, 1), (2, 9), (7, 7), (200, 3), (3, 0)];
    for (page, byte) in pages {
        assert_eq!(memory[page * PAGE_SIZE as usize + 17], byte, "{page}");
    }
    let scratch = saved.dir.join(SCRATCH);
    let original = home.snapshots().path("top").join(SCRATCH);
    assert!(fs::read(&scratch).unwrap() == fs::read(original).unwrap());
    assert!(fs::metadata(scratch).unwrap().blocks() * 512 <= 16 << 10);
    let names: Vec<_> = contents(&archive)
        .into_iter()
        .map(|entry| entry.0)
        .collect();
    assert_eq!(
        names,
        [
            "supermachine-snapshot",
            MANIFEST,
            STATE_FILE,
            MEMORY_FILE,
            SCRATCH
        ]
    );
    // What arrived can be sent on, and is the same again but for its name.
    let mut again = Vec::new();
    send(&saved, &home, &mut again).unwrap();
    assert!(contents(&again)[2..] == contents(&archive)[2..]);
}

#[test]
fn damage_is_not_sealed_anew() {
    let (_temporary, home) = home();
    archive(&home);
    let memory = home.snapshots().path("base").join(MEMORY_FILE);
    let file = File::options().write(true).open(memory).unwrap();
    file.write_all_at(b"x", PAGE_SIZE).unwrap();
    let top = Saved::open(&home.snapshots().path("top")).unwrap();
    let mut sent = Vec::new();
    let error = send(&top, &home, &mut sent).unwrap_err();
    assert!(matches!(error, SavedError::Digest { path, .. } if path.ends_with("base/memory")));
    assert!(sent.is_empty());
}

#[test]
fn a_flipped_bit_is_refused_with_the_entry_it_is_in() {
    let (_temporary, home) = home();
    let tar = unpacked(&archive(&home));
    for entry in [Entry::Manifest, Entry::State, Entry::Memory, Entry::Disk] {
        // In the header, and at the start of the content.
        for at in [130, 512 + 70] {
            let at = header_of(&tar, entry) + at;
            let mut tar = tar.clone();
            tar[at] ^= 4;
            let error = refused(&home, &packed(&tar));
            let text = crate::error::describe(&error);
            let name = entry.name().trim_end_matches(".json");
            assert!(text.contains(name), "{entry:?}, {at}: {text}");
        }
    }
}

#[test]
fn every_truncation_and_every_flip_of_the_packed_file_is_refused_or_harmless() {
    let (_temporary, home) = home();
    let archive = archive(&home);
    for end in 0..archive.len() {
        let error = refused(&home, &archive[..end]);
        assert!(
            matches!(
                error,
                ArchiveError::Unknown(_) | ArchiveError::Truncated { .. }
            ),
            "{end}: {error}"
        );
    }
    for at in 0..archive.len() {
        let mut flipped = archive.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(saved) = receive(&home, &flipped, "flipped") {
            saved.verify().unwrap();
            home.snapshots().remove("flipped").unwrap();
        }
    }
}

#[test]
fn archives_of_another_shape_are_refused() {
    let (_temporary, home) = home();
    let archive = archive(&home);
    let tar = unpacked(&archive);
    let rebuilt = |entry, change: fn(&mut tar::Header)| {
        let mut tar = tar.clone();
        let at = header_of(&tar, entry);
        let mut header = tar::Header::from_byte_slice(&tar[at..at + 512]).clone();
        change(&mut header);
        header.set_cksum();
        tar[at..at + 512].copy_from_slice(header.as_bytes());
        refused(&home, &packed(&tar))
    };
    let outside = rebuilt(Entry::State, |header| {
        header.as_old_mut().name[..6].copy_from_slice(b"../../");
    });
    assert!(matches!(&outside, ArchiveError::Order { found, .. } if found == "../../"));
    let link = rebuilt(Entry::Memory, |header| {
        header.set_entry_type(tar::EntryType::Symlink);
    });
    assert!(matches!(link, ArchiveError::Header { entry: MEMORY_FILE }));
    for entry in [Entry::Manifest, Entry::State, Entry::Memory, Entry::Disk] {
        rebuilt(entry, |header| header.set_size(u64::MAX));
        rebuilt(entry, |header| header.set_size(1 << 50));
        rebuilt(entry, |header| header.set_size(0));
    }
    // An entry that is not there.
    let (state, memory) = (
        header_of(&tar, Entry::State),
        header_of(&tar, Entry::Memory),
    );
    let missing = refused(&home, &packed(&[&tar[..state], &tar[memory..]].concat()));
    assert!(
        matches!(
            missing,
            ArchiveError::Order {
                expected: STATE_FILE,
                ..
            }
        ),
        "{missing}"
    );
    let nothing = refused(&home, &packed(&[&tar[..state], &[0; 1024]].concat()));
    assert!(matches!(&nothing, ArchiveError::Order { found, .. } if found.is_empty()));
    // Something behind the end.
    let longer = refused(&home, &packed(&[&tar[..], &[0]].concat()));
    assert!(matches!(longer, ArchiveError::Trailing { .. }), "{longer}");
    refused(&home, &[&archive[..], b"more"].concat());
    let foreign = refused(&home, &packed(&tar[512..]));
    assert!(matches!(foreign, ArchiveError::Foreign(_)), "{foreign}");
    let format = String::from_utf8_lossy(&tar[512..514]).into_owned();
    assert_eq!(format, "1\n");
    let mut newer = tar.clone();
    newer[512] = b'2';
    let newer = refused(&home, &packed(&newer));
    assert_eq!(
        newer.to_string(),
        "the exported snapshot has format \"2\", this release reads 1"
    );
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let (_temporary, home) = home();
    let archive = archive(&home);
    receive(&home, &with_manifest(&archive, |_| {}), "as-it-was").unwrap();
    let lies: [(&str, Lie); 12] = [
        ("kind", |manifest| manifest.kind = Kind::Template),
        ("base", |manifest| manifest.base = Some(Digest::of(b""))),
        ("size of memory", |manifest| manifest.memory_mib = u32::MAX),
        ("memory file is of", |manifest| manifest.memory_mib = 2),
        ("size of the state", |manifest| {
            manifest.state.bytes = u64::MAX;
        }),
        ("state", |manifest| manifest.state.bytes += 1),
        ("number of pages", |manifest| manifest.memory.pages += 1),
        ("memory", |manifest| {
            manifest.memory.digest = Digest::of(b"");
        }),
        ("writable disk", |manifest| manifest.disks.clear()),
        ("writable disk", |manifest| {
            manifest.disks[0].bytes = u64::MAX;
        }),
        ("writable disk", |manifest| {
            manifest.disks[0].files = vec![MANIFEST.to_owned()];
        }),
        ("digest of the disk", |manifest| {
            manifest.workload = serde_json::Value::Null;
        }),
    ];
    for (told, lie) in lies {
        let error = refused(&home, &with_manifest(&archive, lie));
        let text = crate::error::describe(&error);
        assert!(text.contains(told), "{told}: {text}");
    }
    // The disk is shorter than where its last piece belongs.
    let short = refused(
        &home,
        &with_manifest(&archive, |manifest| {
            manifest.disks[0].bytes = 1 << 20;
        }),
    );
    assert!(matches!(short, ArchiveError::Piece { .. }), "{short}");
}
