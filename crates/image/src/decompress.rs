//! Layers in any of their compressions, as plain tar streams.
//!
//! The first bytes of a blob decide, not its media type: builders have mislabeled layers, and
//! since both the blob and what comes out of it are checked by digest, a wrong guess cannot pass.
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

/// Why a stream cannot be decompressed. Found inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// More comes out than is allowed.
    #[error("it expands to more than {limit} bytes")]
    Bomb {
        /// The most allowed.
        limit: u64,
    },
    /// A compression nobody uses for layers.
    #[error("it is compressed with {name}, which is not supported (gzip, zstd and plain tar are)")]
    Unsupported {
        /// Which one.
        name: &'static str,
    },
}

/// zstd's own command needs `--long` beyond this; 2^27 bytes of memory are used at most.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const BUFFER_LEN: usize = 64 << 10;
const MAGIC_LEN: usize = 6;

impl Compression {
    /// Judges by the first bytes of a stream.
    fn detect(start: &[u8]) -> Result<Self, DecompressError> {
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame, which `zstd:chunked` may start with.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(DecompressError::Unsupported { name: "xz" }),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A'] => {
                Err(DecompressError::Unsupported { name: "bzip2" })
            }
            _ => Ok(Self::Plain),
        }
    }
}

/// The plain bytes of a stream.
///
/// Its end is the end of the compressed stream too: everything is read from it, so that a checking
/// reader below sees the last byte before the reader of this one sees the end.
pub(crate) struct Decoder<'a> {
    stream: Box<dyn Read + Send + 'a>,
    compression: Compression,
    left: u64,
    limit: u64,
}

impl<'a> Decoder<'a> {
    /// Looks at the first bytes of `stream` and decodes it; more than `limit` plain bytes are an error.
    pub(crate) fn new<R: Read + Send + 'a>(mut stream: R, limit: u64) -> io::Result<Self> {
        let mut start = Vec::with_capacity(MAGIC_LEN);
        stream
            .by_ref()
            .take(MAGIC_LEN as u64)
            .read_to_end(&mut start)?;
        let compression = Compression::detect(&start)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let whole = io::Cursor::new(start).chain(stream);
        let stream: Box<dyn Read + Send + 'a> = match compression {
            Compression::Plain => Box::new(whole),
            Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(
                BUFFER_LEN, whole,
            ))),
            Compression::Zstd => {
                Box::new(zstd_reader(BufReader::with_capacity(BUFFER_LEN, whole))?)
            }
        };
        Ok(Self {
            stream,
            compression,
            left: limit,
            limit,
        })
    }

    /// What was found.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }
}

fn zstd_reader<R: BufRead>(stream: R) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                DecompressError::Bomb { limit: self.limit },
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const NO_LIMIT: u64 = u64::MAX;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 1).unwrap()
    }

    fn decode(blob: &[u8], limit: u64) -> io::Result<(Compression, Vec<u8>)> {
        let mut decoder = Decoder::new(blob, limit)?;
        let mut out = Vec::new();
        decoder.read_to_end(&mut out)?;
        Ok((decoder.compression(), out))
    }

    fn cause(error: &io::Error) -> Option<&DecompressError> {
        error.get_ref()?.downcast_ref()
    }

    #[test]
    fn every_compression_is_found_by_its_first_bytes() {
        let content = b"a tar archive, as far as this test goes".repeat(100);
        assert_eq!(
            decode(&content, NO_LIMIT).unwrap(),
            (Compression::Plain, content.clone())
        );
        assert_eq!(
            decode(&gzip(&content), NO_LIMIT).unwrap(),
            (Compression::Gzip, content.clone())
        );
        assert_eq!(
            decode(&zstd(&content), NO_LIMIT).unwrap(),
            (Compression::Zstd, content)
        );
        assert_eq!(
            decode(b"", NO_LIMIT).unwrap(),
            (Compression::Plain, Vec::new())
        );
        assert_eq!(
            decode(b"\x1f", NO_LIMIT).unwrap(),
            (Compression::Plain, b"\x1f".to_vec())
        );
    }

    #[test]
    fn members_and_frames_are_read_to_the_last() {
        let gz = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(decode(&gz, NO_LIMIT).unwrap().1, b"one two");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let zst = [
            skippable.clone(),
            zstd(b"one "),
            skippable.clone(),
            zstd(b"two"),
            skippable,
        ]
        .concat();
        assert_eq!(decode(&zst, NO_LIMIT).unwrap().1, b"one two");
    }

    #[test]
    fn garbage_after_the_end_and_truncation_are_refused() {
        for blob in [
            gzip(b"content of some length"),
            zstd(b"content of some length"),
        ] {
            assert!(decode(&[&blob[..], b"garbage"].concat(), NO_LIMIT).is_err());
            for len in MAGIC_LEN..blob.len() {
                assert!(
                    decode(&blob[..len], NO_LIMIT).is_err(),
                    "cut to {len} of {}",
                    blob.len()
                );
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; 10 << 20];
        for blob in [gzip(&zeros), zstd(&zeros), zeros.clone()] {
            let error = decode(&blob, 1 << 20).unwrap_err();
            assert_eq!(
                cause(&error),
                Some(&DecompressError::Bomb { limit: 1 << 20 })
            );
            assert_eq!(decode(&blob, 10 << 20).unwrap().1.len(), 10 << 20);
        }
    }

    #[test]
    fn a_frame_that_wants_more_memory_than_allowed_is_refused() {
        // Magic, a frame header without checksum or size, and a window descriptor of 2^31.
        let frame = [
            0x28,
            0xb5,
            0x2f,
            0xfd,
            0x00,
            (31 - 10) << 3,
            0x01,
            0x00,
            0x00,
        ];
        assert!(decode(&frame, NO_LIMIT).is_err());
        let allowed = [
            0x28,
            0xb5,
            0x2f,
            0xfd,
            0x00,
            (27 - 10) << 3,
            0x01,
            0x00,
            0x00,
        ];
        assert_eq!(decode(&allowed, NO_LIMIT).unwrap().1, b"");
    }

    #[test]
    fn other_compressions_are_named() {
        let xz = decode(&[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4], NO_LIMIT).unwrap_err();
        assert_eq!(
            cause(&xz),
            Some(&DecompressError::Unsupported { name: "xz" })
        );
        let bzip2 = decode(b"BZh91AY&SY", NO_LIMIT).unwrap_err();
        assert_eq!(
            cause(&bzip2),
            Some(&DecompressError::Unsupported { name: "bzip2" })
        );
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 1..5)) {
            let content = parts.concat();
            let gz: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
            let zst: Vec<u8> = parts.iter().flat_map(|part| zstd(part)).collect();
            prop_assert_eq!(&decode(&gz, NO_LIMIT).unwrap().1, &content);
            prop_assert_eq!(&decode(&zst, NO_LIMIT).unwrap().1, &content);
        }

        #[test]
        fn no_bytes_make_it_panic(blob in proptest::collection::vec(any::<u8>(), 0..500), kind in 0..3) {
            let mut blob = blob;
            match kind {
                0 => drop(blob.splice(0..0, [0x1f, 0x8b, 8])),
                1 => drop(blob.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd])),
                _ => {}
            }
            let _ = decode(&blob, 1 << 20);
        }
    }
}
