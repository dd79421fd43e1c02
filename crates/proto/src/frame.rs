//! Frames on a session stream: a five-byte header, then the payload.
//!
//! ```text
//! 0        4      5              5 + length
//! | length | kind | payload ...  |
//!   u32 LE   u8
//! ```
//!
//! Bulk data travels as the payload itself, not as a field of an encoded message, so that neither side
//! copies it a second time. A peer that announces more than [`MAX_PAYLOAD`] is cut off.

/// Bytes in front of every payload.
pub const HEADER_LEN: usize = 5;

/// The largest payload either side accepts: 1 MiB of environment plus 128 KiB arguments and room to spare.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// The largest payload of a data frame ([`Kind::Stdin`], [`Kind::Stdout`], [`Kind::Stderr`]).
pub const MAX_DATA: usize = 64 << 10;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Host to guest, first frame of a stream: an encoded [`crate::session::Request`].
    Request = 1,
    /// Host to guest: bytes for standard input; an empty payload closes it.
    Stdin = 2,
    /// Host to guest: an encoded [`crate::session::Control`].
    Control = 3,
    /// Guest to host: bytes of standard output.
    Stdout = 4,
    /// Guest to host: bytes of standard error.
    Stderr = 5,
    /// Guest to host: an encoded [`crate::session::Event`].
    Event = 6,
}

impl Kind {
    /// The kind a header byte stands for, if any.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Stdin,
            3 => Self::Control,
            4 => Self::Stdout,
            5 => Self::Stderr,
            6 => Self::Event,
            _ => return None,
        })
    }

    const fn max_payload(self) -> usize {
        match self {
            Self::Stdin | Self::Stdout | Self::Stderr => MAX_DATA,
            Self::Request | Self::Control | Self::Event => MAX_PAYLOAD,
        }
    }
}

/// A parsed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// How many bytes of it.
    pub len: usize,
}

/// A header no honest peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind byte is none of ours.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The length is over the limit of its kind.
    #[error("a frame of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Announced length.
        len: usize,
        /// What the kind allows.
        max: usize,
    },
}

impl Header {
    /// The header of a payload of `len` bytes.
    pub const fn new(kind: Kind, len: usize) -> Self {
        Self { kind, len }
    }

    /// As it stands on the wire.
    pub const fn to_bytes(self) -> [u8; HEADER_LEN] {
        let len = (self.len as u32).to_le_bytes();
        [len[0], len[1], len[2], len[3], self.kind as u8]
    }

    /// Reads a header, refusing what is over the limit of its kind.
    pub const fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let Some(kind) = Kind::from_byte(bytes[4]) else {
            return Err(FrameError::UnknownKind(bytes[4]));
        };
        let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let max = kind.max_payload();
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        Ok(Self { kind, len })
    }
}

/// Collects bytes as they arrive and hands out whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: alloc::vec::Vec<u8>,
    consumed: usize,
}

impl Decoder {
    /// An empty decoder.
    pub const fn new() -> Self {
        Self {
            buffer: alloc::vec::Vec::new(),
            consumed: 0,
        }
    }

    /// Appends bytes read from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes arrive.
    pub fn next_frame(&mut self) -> Result<Option<(Kind, &[u8])>, FrameError> {
        let pending = &self.buffer[self.consumed..];
        let Some(header) = pending.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = Header::parse(*header)?;
        if pending.len() < HEADER_LEN + header.len {
            return Ok(None);
        }
        let start = self.consumed + HEADER_LEN;
        self.consumed = start + header.len;
        Ok(Some((header.kind, &self.buffer[start..self.consumed])))
    }

    /// Whether part of a frame is waiting: at the end of a stream this means it was cut off.
    pub fn has_partial(&self) -> bool {
        self.consumed < self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Header::new(kind, payload.len()).to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn frames_survive_any_split_of_the_stream() {
        let mut wire = frame(Kind::Stdout, b"out");
        wire.extend(frame(Kind::Stderr, b""));
        wire.extend(frame(Kind::Event, &[7; 300]));
        for chunk in 1..wire.len() {
            let mut decoder = Decoder::new();
            let mut seen = Vec::new();
            for part in wire.chunks(chunk) {
                decoder.push(part);
                while let Some((kind, payload)) = decoder.next_frame().unwrap() {
                    seen.push((kind, payload.to_vec()));
                }
            }
            assert!(!decoder.has_partial());
            assert_eq!(
                seen,
                [
                    (Kind::Stdout, b"out".to_vec()),
                    (Kind::Stderr, Vec::new()),
                    (Kind::Event, [7; 300].to_vec())
                ]
            );
        }
    }

    #[test]
    fn an_oversized_data_frame_is_refused_from_its_header_alone() {
        let header = Header::new(Kind::Stdout, MAX_DATA + 1).to_bytes();
        assert_eq!(
            Header::parse(header),
            Err(FrameError::TooLong {
                len: MAX_DATA + 1,
                max: MAX_DATA
            })
        );
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert_eq!(
            Header::parse([0, 0, 0, 0, 99]),
            Err(FrameError::UnknownKind(99))
        );
    }
}
