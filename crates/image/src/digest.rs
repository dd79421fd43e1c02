//! Content digests: the names of everything the store holds.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

const PREFIX: &str = "sha256:";

/// A SHA-256 digest, written `sha256:` and 64 lowercase hexadecimal digits
/// ([OCI descriptor, "Digests"](https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests)).
///
/// Other algorithms the specification registers (SHA-512, BLAKE3) are refused: no registry serves them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Text that is not a digest we can check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The algorithm is not `sha256`.
    #[error("{0:?} is not a sha256 digest; no other algorithm is supported")]
    Algorithm(String),
    /// The part after the algorithm is not 64 lowercase hexadecimal digits.
    #[error("{0:?} is not a digest: 64 lowercase hexadecimal digits must follow \"sha256:\"")]
    Hex(String),
}

/// Content that is not what its digest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the content is {found}, expected {expected}")]
pub struct DigestMismatch {
    /// What was asked for.
    pub expected: Digest,
    /// What arrived.
    pub found: Digest,
}

impl Digest {
    /// Wraps the 32 bytes of a SHA-256.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(content);
        hasher.finish()
    }

    /// Reads `sha256:HEX`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let Some(hex) = text.strip_prefix(PREFIX) else {
            return Err(DigestError::Algorithm(text.to_owned()));
        };
        Self::from_hex(hex).ok_or_else(|| DigestError::Hex(text.to_owned()))
    }

    /// Reads the 64 digits without the algorithm.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The 64 digits without the algorithm, as used for names of files.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// One lowercase hexadecimal digit: the specification allows no other spelling, so that equal digests are equal text.
const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A SHA-256 in the making.
#[derive(Clone, Debug, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Passes a stream on and fails at its end if it was not the one expected.
///
/// The last `read` (the one that would say "end of file") returns an error of kind `InvalidData` whose inner
/// error is a [`DigestMismatch`]. Nothing read before that may be trusted.
pub struct VerifyingReader<R> {
    inner: R,
    expected: Digest,
    hasher: Hasher,
    verdict: Option<Digest>,
}

impl<R: Read> VerifyingReader<R> {
    /// Checks `inner` against `expected`.
    pub fn new(inner: R, expected: Digest) -> Self {
        Self {
            inner,
            expected,
            hasher: Hasher::new(),
            verdict: None,
        }
    }

    /// Reads what is left and checks the whole.
    pub fn finish(mut self) -> io::Result<R> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.inner)
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.verdict.is_none() {
            let count = self.inner.read(buffer)?;
            if count > 0 {
                self.hasher.update(&buffer[..count]);
                return Ok(count);
            }
        }
        let found = *self
            .verdict
            .get_or_insert_with(|| std::mem::take(&mut self.hasher).finish());
        let expected = self.expected;
        if found == expected {
            Ok(0)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                DigestMismatch { expected, found },
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_survives_a_round_trip() {
        let digest = Digest::parse(EMPTY).unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(
            serde_json::to_string(&digest).unwrap(),
            format!("\"{EMPTY}\"")
        );
        assert_eq!(
            serde_json::from_str::<Digest>(&format!("\"{EMPTY}\"")).unwrap(),
            digest
        );
    }

    #[test]
    fn other_algorithms_lengths_and_spellings_are_refused() {
        assert!(matches!(
            Digest::parse("sha512:00"),
            Err(DigestError::Algorithm(_))
        ));
        assert!(matches!(
            Digest::parse(&EMPTY[..70]),
            Err(DigestError::Hex(_))
        ));
        assert!(matches!(
            Digest::parse(&EMPTY.replace('e', "E")),
            Err(DigestError::Hex(_))
        ));
        assert!(matches!(
            Digest::parse(&EMPTY.replace('e', "é")),
            Err(DigestError::Hex(_))
        ));
    }

    #[test]
    fn the_reader_passes_good_content_and_fails_at_the_end_of_bad() {
        let good = VerifyingReader::new(&b"abc"[..], Digest::of(b"abc"));
        assert!(good.finish().is_ok());

        let mut bad = VerifyingReader::new(&b"abd"[..], Digest::of(b"abc"));
        let mut buffer = [0; 16];
        assert_eq!(bad.read(&mut buffer).unwrap(), 3);
        for _ in 0..2 {
            let error = bad.read(&mut buffer).unwrap_err();
            let mismatch = error
                .get_ref()
                .unwrap()
                .downcast_ref::<DigestMismatch>()
                .unwrap();
            assert_eq!(mismatch.expected, Digest::of(b"abc"));
        }
    }
}
