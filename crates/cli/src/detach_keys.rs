//! The keys that leave a terminal without ending what runs in it.

use std::str::FromStr;

/// What Docker's users know.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of keys, and how much of it has been typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

/// Not a sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither one character nor ctrl- with one of a-z, @, [, \\, ], ^ and _")]
pub struct UnknownKey(String);

/// Whether a piece of input had the whole sequence in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// Not yet.
    Ordinary,
    /// What comes behind it is nobody's.
    Detach,
}

impl FromStr for DetachKeys {
    type Err = UnknownKey;

    /// Keys with commas between them; none at all means the usual ones.
    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        let text = if text.is_empty() { DEFAULT } else { text };
        let keys = text.split(',').map(key).collect::<Result<_, _>>()?;
        Ok(Self { keys, typed: 0 })
    }
}

fn key(name: &str) -> Result<u8, UnknownKey> {
    let unknown = || UnknownKey(name.to_owned());
    let single = |text: &str| match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    };
    match (single(name), name.strip_prefix("ctrl-")) {
        (Some(byte), _) => Ok(byte),
        (None, Some(rest)) => match single(rest).ok_or_else(unknown)? {
            byte @ (b'a'..=b'z' | b'@' | b'['..=b'_') => Ok(byte & 0x1f),
            _ => Err(unknown()),
        },
        (None, None) => Err(unknown()),
    }
}

impl DetachKeys {
    /// Takes what was typed and appends what is to be passed on. The beginning of the sequence is kept back until it is
    /// clear that it is none.
    pub fn filter(&mut self, input: &[u8], output: &mut Vec<u8>) -> Typed {
        for &byte in input {
            if byte != self.keys[self.typed] {
                output.extend_from_slice(&self.keys[..self.typed]);
                self.typed = 0;
            }
            if byte == self.keys[self.typed] {
                self.typed += 1;
            } else {
                output.push(byte);
            }
            if self.typed == self.keys.len() {
                self.typed = 0;
                return Typed::Detach;
            }
        }
        Typed::Ordinary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, Typed) {
        let mut keys: DetachKeys = keys.parse().unwrap();
        let mut output = Vec::new();
        for piece in pieces {
            if keys.filter(piece, &mut output) == Typed::Detach {
                return (output, Typed::Detach);
            }
        }
        (output, Typed::Ordinary)
    }

    #[test]
    fn keys_are_named_as_docker_names_them() {
        let bytes = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.keys);
        assert_eq!(bytes("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(bytes("").unwrap(), [16, 17]);
        assert_eq!(bytes("a,ctrl-@,ctrl-\\,ctrl-_").unwrap(), [b'a', 0, 28, 31]);
        for wrong in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "a,,b", "é"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_pieces_and_what_is_before_it_passes() {
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"ls\r\x10", b"\x11never"]),
            (b"ls\r".to_vec(), Typed::Detach)
        );
    }

    #[test]
    fn the_beginning_of_a_sequence_that_does_not_follow_is_passed_on() {
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"\x10", b"\x10x"]),
            (b"\x10\x10x".to_vec(), Typed::Ordinary)
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_without_the_sequence(input: Vec<u8>) {
            let mut all = input;
            all.retain(|byte| *byte != 17);
            all.push(b'.');
            prop_assert_eq!(typed("ctrl-p,ctrl-q", &[&all]), (all, Typed::Ordinary));
        }
    }
}
