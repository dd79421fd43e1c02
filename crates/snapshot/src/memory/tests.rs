//! The memory file: the table is read as it was written, and the digest is of what the file says.

use super::run::join;
use super::{MemoryError, PAGE_SIZE, Run, RunKind, RunsError, digest, read_runs, write_runs};
use crate::Digest;
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGES: u64 = 64;
const RAM: u64 = PAGES * PAGE_SIZE;

const fn data(first: u64, pages: u64) -> Run {
    Run {
        first,
        pages,
        kind: RunKind::Data,
    }
}

const fn zero(first: u64, pages: u64) -> Run {
    Run {
        first,
        pages,
        kind: RunKind::Zero,
    }
}

/// A memory file whose data pages are full of their own number.
fn memory(runs: &[Run]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(RAM).unwrap();
    for run in runs.iter().filter(|run| run.kind == RunKind::Data) {
        for page in run.first..run.first + run.pages {
            fill(&file, page, page as u8 + 1);
        }
    }
    write_runs(&file, RAM, runs).unwrap();
    file
}

fn fill(file: &File, page: u64, byte: u8) {
    let bytes = [byte; PAGE_SIZE as usize];
    file.write_all_at(&bytes, page * PAGE_SIZE).unwrap();
}

fn length(file: &File) -> u64 {
    file.metadata().unwrap().len()
}

fn table(file: &File) -> Vec<u8> {
    let mut table = vec![0; (length(file) - RAM) as usize];
    file.read_exact_at(&mut table, RAM).unwrap();
    table
}

#[test]
fn runs_come_back_joined() {
    let file = memory(&[data(0, 1), data(1, 2), zero(3, 1), zero(10, 1), data(63, 1)]);
    let expected = [data(0, 3), zero(3, 1), zero(10, 1), data(63, 1)];
    assert_eq!(read_runs(&file, RAM).unwrap(), expected);
}

#[test]
fn an_empty_table_is_a_table() {
    assert_eq!(read_runs(&memory(&[]), RAM).unwrap(), []);
}

#[test]
fn a_second_table_replaces_a_longer_one() {
    let file = memory(&[data(1, 1), zero(3, 1), data(5, 1)]);
    write_runs(&file, RAM, &[data(1, 1)]).unwrap();
    assert_eq!(read_runs(&file, RAM).unwrap(), [data(1, 1)]);
}

#[test]
fn runs_that_make_no_sense_are_not_written() {
    let file = tempfile::tempfile().unwrap();
    let cases = [
        (vec![data(0, 0)], RunsError::Empty { index: 0 }),
        (
            vec![data(4, 2), zero(5, 1)],
            RunsError::Order { index: 1, first: 5 },
        ),
        (
            vec![data(4, 2), data(0, 1)],
            RunsError::Order { index: 1, first: 0 },
        ),
        (
            vec![data(63, 2)],
            RunsError::Bounds {
                index: 0,
                pages: PAGES,
            },
        ),
        (
            vec![data(1, u64::MAX)],
            RunsError::Bounds {
                index: 0,
                pages: PAGES,
            },
        ),
    ];
    for (runs, expected) in cases {
        let error = write_runs(&file, RAM, &runs).unwrap_err();
        assert!(
            matches!(error, MemoryError::Runs(found) if found == expected),
            "{error:?}"
        );
    }
    let error = write_runs(&file, RAM + 1, &[]).unwrap_err();
    assert!(matches!(error, MemoryError::Unaligned { .. }));
    assert_eq!(length(&file), 0);
}

/// Bytes that are sealed as they should be and say something impossible.
#[test]
fn runs_that_make_no_sense_are_not_read() {
    let cases = [
        (vec![data(0, 1), data(1, 1)], RunsError::Split { index: 1 }),
        (vec![zero(0, 0)], RunsError::Empty { index: 0 }),
        (
            vec![data(PAGES, 1)],
            RunsError::Bounds {
                index: 0,
                pages: PAGES,
            },
        ),
    ];
    for (runs, expected) in cases {
        let file = memory(&[]);
        let mut table = super::table::encode(RAM, &runs);
        table.extend(Digest::of(&table).as_bytes());
        file.write_all_at(&table, RAM).unwrap();
        let error = read_runs(&file, RAM).unwrap_err();
        assert!(
            matches!(error, MemoryError::Runs(found) if found == expected),
            "{error:?}"
        );
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    let file = memory(&[data(1, 1)]);
    let good = length(&file);
    file.set_len(good + 1).unwrap();
    let error = read_runs(&file, RAM).unwrap_err();
    assert!(
        matches!(error, MemoryError::FileSize { needed, found } if (needed, found) == (good, good + 1))
    );
    file.set_len(good - 1).unwrap();
    assert!(matches!(
        read_runs(&file, RAM),
        Err(MemoryError::FileSize { .. })
    ));
    file.set_len(RAM).unwrap();
    assert!(matches!(
        read_runs(&file, RAM),
        Err(MemoryError::Truncated { .. })
    ));
}

#[test]
fn a_memory_of_another_size_is_refused() {
    let file = memory(&[data(1, 1)]);
    let error = read_runs(&file, RAM - PAGE_SIZE).unwrap_err();
    assert!(matches!(error, MemoryError::Magic { .. }), "{error}");
    let mut moved = super::table::encode(RAM + PAGE_SIZE, &[]);
    moved.extend(Digest::of(&moved).as_bytes());
    file.set_len(RAM + moved.len() as u64).unwrap();
    file.write_all_at(&moved, RAM).unwrap();
    let error = read_runs(&file, RAM).unwrap_err();
    assert!(matches!(error, MemoryError::RamBytes { .. }), "{error}");
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    let file = memory(&[data(1, 1)]);
    file.write_all_at(&[2], RAM + 8).unwrap();
    let error = read_runs(&file, RAM).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the memory file has format 2, this release reads 1"
    );
}

#[test]
fn a_number_of_runs_that_no_file_has_is_refused_and_not_allocated() {
    let file = memory(&[data(1, 1)]);
    file.write_all_at(&[0xff; 4], RAM + 12).unwrap();
    assert!(matches!(
        read_runs(&file, RAM),
        Err(MemoryError::FileSize { .. })
    ));
}

#[test]
fn the_digest_does_not_depend_on_holes() {
    let runs = [data(0, 2), data(9, 300 - 9)];
    let ram = 512 * PAGE_SIZE;
    let [sparse, dense] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    sparse.set_len(ram).unwrap();
    dense.write_all_at(&vec![0; ram as usize], 0).unwrap();
    for file in [&sparse, &dense] {
        // Pages that are zero in the middle of a run are data there all the same.
        fill(file, 1, 7);
        fill(file, 299, 8);
        write_runs(file, ram, &runs).unwrap();
    }
    assert_eq!(digest(&sparse, ram).unwrap(), digest(&dense, ram).unwrap());
}

#[test]
fn the_digest_is_of_the_runs_and_of_the_data() {
    let runs = [data(2, 2), zero(4, 1), data(9, 1)];
    let original = digest(&memory(&runs), RAM).unwrap();
    let changed = memory(&runs);
    fill(&changed, 9, 0);
    assert_ne!(digest(&changed, RAM).unwrap(), original);
    let other_runs = memory(&[data(2, 2), data(9, 1)]);
    assert_ne!(digest(&other_runs, RAM).unwrap(), original);
    assert_eq!(digest(&memory(&runs), RAM).unwrap(), original);
}

#[test]
fn content_where_the_table_says_there_is_none_is_found() {
    for stray in [0, 4, 63] {
        let file = memory(&[data(2, 2), zero(4, 1), data(9, 1)]);
        fill(&file, stray, 1);
        let error = digest(&file, RAM).unwrap_err();
        assert!(
            matches!(error, MemoryError::Stray { page } if page == stray),
            "{error}"
        );
    }
}

/// The bytes are on people's disks. If this test fails, the format counts up, docs/snapshot-format.md says what
/// changed, and the new bytes are frozen here.
#[test]
fn the_bytes_of_a_table_are_frozen() {
    let file = memory(&[data(2, 3), zero(5, 1)]);
    let table = table(&file);
    let expected = [
        &b"SM-PAGES"[..],
        &[1, 0, 0, 0],
        &[2, 0, 0, 0],
        &[0, 0, 4, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0x80],
        Digest::of(&table[..56]).as_bytes(),
    ]
    .concat();
    assert_eq!(table, expected);
    assert_eq!(
        digest(&file, RAM).unwrap().to_string(),
        "sha256:fc6f4cd4dd7b7f8e7f1207c4963b369303e4d0a45fc8204089dde83203990525"
    );
}

/// Runs in order and apart, which may touch.
fn any_runs() -> impl Strategy<Value = Vec<Run>> {
    let run = (0u64..4, 1u64..6, any::<bool>());
    proptest::collection::vec(run, 0..12).prop_map(|steps| {
        let mut next = 0;
        let mut runs = Vec::new();
        for (gap, pages, has_data) in steps {
            let first = next + gap;
            next = first + pages;
            let kind = if has_data {
                RunKind::Data
            } else {
                RunKind::Zero
            };
            if next <= PAGES {
                runs.push(Run { first, pages, kind });
            }
        }
        runs
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_runs_come_back_and_say_the_same(runs in any_runs()) {
        let file = memory(&runs);
        let read = read_runs(&file, RAM).unwrap();
        let pages = |runs: &[Run]| -> Vec<(u64, RunKind)> {
            runs.iter()
                .flat_map(|run| (run.first..run.first + run.pages).map(|page| (page, run.kind)))
                .collect()
        };
        prop_assert_eq!(pages(&read), pages(&runs));
        prop_assert_eq!(join(&read), read);
        prop_assert!(digest(&file, RAM).is_ok());
    }

    #[test]
    fn any_flip_of_any_bit_is_found(runs in any_runs(), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let file = memory(&runs);
        let before = digest(&file, RAM).unwrap();
        let at = at.index(length(&file) as usize) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        prop_assert!(digest(&file, RAM).ok() != Some(before));
        if at >= RAM {
            prop_assert!(read_runs(&file, RAM).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, PAGE_SIZE).unwrap();
        for ram in [0, PAGE_SIZE, u64::MAX, u64::MAX - PAGE_SIZE + 1] {
            prop_assert!(read_runs(&file, ram).is_err());
        }
    }
}
