//! The state file: what is written is read, what was damaged is refused by name.

use super::format::{ENTRY, FORMAT, HEADER};
use super::{State, StateError, StateWriter};
use crate::Digest;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Part {
    number: u32,
    words: Vec<u64>,
}

fn part() -> Part {
    Part {
        number: 300,
        words: vec![1, 2, u64::MAX],
    }
}

fn file() -> Vec<u8> {
    let mut writer = StateWriter::new();
    writer.put("x86_64/kvm/vcpu0/regs", 1, &part());
    writer.put_bytes("empty", 7, &[]);
    writer.put_bytes("raw", 65_535, b"anything");
    writer.finish()
}

/// A file with a table of the test's own making, sealed as it should be.
fn file_of(table: &[u8], contents: &[u8]) -> Vec<u8> {
    let mut file = b"SM-STATE".to_vec();
    file.extend(FORMAT.to_le_bytes());
    file.extend((table.len() as u32).to_le_bytes());
    file.extend(table);
    let seal = Digest::of(&file);
    file.extend(seal.as_bytes());
    file.extend(contents);
    file
}

fn entry(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut entry = vec![name.len() as u8];
    entry.extend(name);
    entry.extend(1u16.to_le_bytes());
    entry.extend((content.len() as u32).to_le_bytes());
    entry.extend(Digest::of(content).as_bytes());
    entry
}

#[test]
fn what_was_put_comes_back() {
    let state = State::parse(&file()).unwrap();
    assert_eq!(
        state.get::<Part>("x86_64/kvm/vcpu0/regs", 1).unwrap(),
        part()
    );
    assert_eq!(state.bytes("raw", 65_535).unwrap(), b"anything");
    assert_eq!(state.bytes("empty", 7).unwrap(), b"");
    let sections: Vec<_> = state.sections().collect();
    assert_eq!(sections[0], ("x86_64/kvm/vcpu0/regs", 1, 15));
    assert_eq!(sections[1..], [("empty", 7, 0), ("raw", 65_535, 8)]);
}

#[test]
fn a_file_without_sections_is_a_file() {
    let state = State::parse(&StateWriter::new().finish()).unwrap();
    assert_eq!(state.sections().count(), 0);
}

#[test]
fn a_section_of_another_version_is_refused_with_both() {
    let state = State::parse(&file()).unwrap();
    let error = state.get::<Part>("x86_64/kvm/vcpu0/regs", 2).unwrap_err();
    assert!(matches!(
        error,
        StateError::Version {
            found: 1,
            known: 2,
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "section \"x86_64/kvm/vcpu0/regs\" of the state file has version 1, this release reads 2"
    );
}

#[test]
fn a_section_that_is_not_there_is_named() {
    let state = State::parse(&file()).unwrap();
    let error = state.bytes("devices/rng", 1).unwrap_err();
    assert!(matches!(error, StateError::Missing { name } if name == "devices/rng"));
}

#[test]
fn a_section_of_another_shape_is_refused() {
    let mut writer = StateWriter::new();
    writer.put("short", 1, &1u8);
    writer.put("long", 1, &(1u8, 2u8));
    let state = State::parse(&writer.finish()).unwrap();
    let short = state.get::<(u8, u8)>("short", 1).unwrap_err();
    assert!(matches!(short, StateError::Value { name, .. } if name == "short"));
    let long = state.get::<u8>("long", 1).unwrap_err();
    assert!(matches!(long, StateError::ValueTrailing { name, bytes: 1 } if name == "long"));
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    let mut file = file();
    file[8] = 2;
    let error = State::parse(&file).unwrap_err();
    assert!(matches!(error, StateError::Format { found: 2 }));
    assert_eq!(
        error.to_string(),
        "the state file has format 2, this release reads 1"
    );
}

#[test]
fn something_else_is_no_state_file() {
    let error = State::parse(b"\x7fELF\x02\x01\x01\0 and so on").unwrap_err();
    assert!(matches!(error, StateError::Magic { found } if found.starts_with(b"\x7fELF")));
}

#[test]
fn a_flipped_bit_is_refused_with_the_name_of_its_section() {
    let good = file();
    let contents = good.len() - (15 + 8);
    for at in contents..good.len() {
        let mut file = good.clone();
        file[at] ^= 1;
        let expected = if at < contents + 15 {
            "x86_64/kvm/vcpu0/regs"
        } else {
            "raw"
        };
        let error = State::parse(&file).unwrap_err();
        assert!(
            matches!(&error, StateError::Damaged { name } if name == expected),
            "{error}"
        );
    }
    let mut file = good;
    file[HEADER + ENTRY] ^= 1;
    assert!(matches!(State::parse(&file), Err(StateError::TableDamaged)));
}

#[test]
fn every_truncation_is_one_and_so_is_every_addition() {
    let good = file();
    for length in 0..good.len() {
        let error = State::parse(&good[..length]).unwrap_err();
        assert!(
            matches!(error, StateError::Truncated { .. }),
            "{length}: {error}"
        );
    }
    let longer = [good, vec![0; 3]].concat();
    let error = State::parse(&longer).unwrap_err();
    assert!(matches!(error, StateError::Trailing { bytes: 3 }));
}

#[test]
fn a_table_that_makes_no_sense_is_refused_though_it_is_sealed() {
    let twice = [entry(b"a", b""), entry(b"a", b"")].concat();
    let error = State::parse(&file_of(&twice, b"")).unwrap_err();
    assert!(matches!(error, StateError::Duplicate { name } if name == "a"));
    let cut = &entry(b"a", b"")[..ENTRY];
    for table in [cut, &[255], &entry(b"", b""), &entry(b"\xff", b"")] {
        let error = State::parse(&file_of(table, b"")).unwrap_err();
        assert!(matches!(error, StateError::TableMalformed(_)), "{error}");
    }
}

#[test]
fn a_length_that_no_file_has_is_refused_and_not_allocated() {
    let mut table = entry(b"a", b"");
    table[4..8].fill(0xff);
    let error = State::parse(&file_of(&table, b"")).unwrap_err();
    assert!(matches!(
        error,
        StateError::Truncated {
            needed: 0xffff_ffff,
            found: 0,
            ..
        }
    ));
}

#[test]
#[should_panic(expected = "is there already")]
fn two_sections_of_one_name_are_a_mistake_of_the_program() {
    let mut writer = StateWriter::new();
    writer.put_bytes("a", 1, b"");
    writer.put_bytes("a", 1, b"");
}

/// The bytes are on people's disks. If this test fails, `FORMAT` counts up, docs/snapshot-format.md says what
/// changed, and the new bytes are frozen here.
#[test]
fn the_bytes_of_a_file_are_frozen() {
    let mut writer = StateWriter::new();
    writer.put("ab", 3, &(7u8, 300u32));
    let file = writer.finish();
    let digest_of_content = Digest::of(&[7, 0xac, 2]);
    let expected = [
        &b"SM-STATE"[..],
        &[1, 0, 0, 0],
        &[41, 0, 0, 0],
        &[2],
        b"ab",
        &[3, 0],
        &[3, 0, 0, 0],
        digest_of_content.as_bytes(),
        &Digest::of(&file[..57]).as_bytes()[..],
        &[7, 0xac, 2],
    ]
    .concat();
    assert_eq!(file, expected);
    assert_eq!(
        Digest::of(&file).to_string(),
        "sha256:1df6b592d29a1158ec485f9f965fe68a56b42315d37841cf190ae896891d9d5c"
    );
}

proptest! {
    #[test]
    fn any_flip_of_any_bit_is_refused(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        at in any::<proptest::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut writer = StateWriter::new();
        for (i, content) in contents.iter().enumerate() {
            writer.put_bytes(&format!("section {i}"), i as u16, content);
        }
        let mut file = writer.finish();
        prop_assert!(State::parse(&file).is_ok());
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(State::parse(&file).is_err());
    }

    #[test]
    fn any_sections_come_back(
        contents in proptest::collection::btree_map("[a-z/0-9]{1,40}", (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..8),
    ) {
        let mut writer = StateWriter::new();
        for (name, (version, content)) in &contents {
            writer.put_bytes(name, *version, content);
        }
        let state = State::parse(&writer.finish()).unwrap();
        prop_assert_eq!(state.sections().count(), contents.len());
        for (name, (version, content)) in &contents {
            prop_assert_eq!(state.bytes(name, *version).unwrap(), &content[..]);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = State::parse(&bytes);
        // With a head that is right, the rest is looked at, too.
        let _ = State::parse(&[&b"SM-STATE\x01\0\0\0"[..], &bytes].concat());
        let _ = State::parse(&file_of(&bytes, b"some content"));
    }

    #[test]
    fn random_content_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut writer = StateWriter::new();
        writer.put_bytes("a", 1, &bytes);
        let state = State::parse(&writer.finish()).unwrap();
        let _ = state.get::<Part>("a", 1);
        let _ = state.get::<(String, Option<Vec<Vec<u32>>>)>("a", 1);
    }
}
