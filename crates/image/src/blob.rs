//! Blobs on their way in: counted, hashed and decompressed, with the error that ended them kept whole.
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cancel::{Interrupted, Patience};
use crate::decompress::{Decoder, DecompressError};
use crate::digest::{Digest, DigestMismatch, VerifyingReader};
use crate::manifest::Descriptor;
use crate::registry::RegistryError;

/// A blob that did not arrive as it should.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Some bit of it is wrong.
    #[error("blob {digest} is damaged: its content has the digest {found}")]
    Digest {
        /// The blob.
        digest: Digest,
        /// What came.
        found: Digest,
    },
    /// It is shorter or longer than it should be.
    #[error("blob {digest} is damaged: it has {found} bytes, the manifest says {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// By the manifest.
        expected: u64,
        /// What came; for a blob that is too long, what was read of it.
        found: u64,
    },
    /// It is longer than a document of its kind may be.
    #[error("blob {digest} has {size} bytes; at most {limit} are read")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// By the manifest.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A file could not be read.
    #[error("cannot read blob {digest}")]
    Read {
        /// The blob.
        digest: Digest,
        /// The error of the system.
        source: io::Error,
    },
    /// The registry did not deliver it.
    #[error("cannot fetch blob {digest}")]
    Fetch {
        /// The blob.
        digest: Digest,
        /// Why.
        source: Box<RegistryError>,
    },
    /// Its compressed form is invalid.
    #[error("blob {digest} is damaged: it cannot be decompressed")]
    Decompress {
        /// The blob.
        digest: Digest,
        /// What the decompressor found.
        source: io::Error,
    },
    /// Cancelled or out of time.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// It expands to too much, or is compressed in a way nobody uses.
    #[error("refused blob {digest}: {source}")]
    Refused {
        /// The blob.
        digest: Digest,
        /// Why.
        source: DecompressError,
    },
}

/// How the bytes of a source can be told to be the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// By the descriptor's size and digest.
    Blob,
    /// Only by the digest of what comes out of it: `docker save` once gave layers names of their own.
    Content,
}

/// The bytes of a blob as a source delivers them.
pub(crate) struct BlobReader<'a> {
    pub(crate) stream: Box<dyn Read + Send + 'a>,
    pub(crate) identity: Identity,
}

/// Where the first fault of a stream is kept. Readers in between may wrap an [`io::Error`] beyond recognition.
#[derive(Clone, Default)]
struct FaultSlot(Arc<Mutex<Option<BlobError>>>);

impl FaultSlot {
    fn report(&self, fault: BlobError) -> io::Error {
        let text = fault.to_string();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(fault);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }

    fn is_set(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn take(&self) -> Option<BlobError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The bytes of a blob, checked. The end is reported only if everything was right.
struct CheckedBlob<'a> {
    stream: VerifyingReader<Box<dyn Read + Send + 'a>>,
    descriptor: Descriptor,
    identity: Identity,
    read: u64,
    faults: FaultSlot,
    work: Option<&'a Patience>,
    advance: Box<dyn FnMut(u64) + Send + 'a>,
}

impl CheckedBlob<'_> {
    fn fault(&self, error: io::Error) -> BlobError {
        let digest = self.descriptor.digest;
        let error = match error.downcast::<RegistryError>() {
            Ok(source) => {
                return BlobError::Fetch {
                    digest,
                    source: Box::new(source),
                };
            }
            Err(error) => error,
        };
        match error.downcast::<DigestMismatch>() {
            Ok(mismatch) => BlobError::Digest {
                digest,
                found: mismatch.found,
            },
            Err(source) => BlobError::Read { digest, source },
        }
    }

    fn wrong_size(&self) -> BlobError {
        BlobError::Size {
            digest: self.descriptor.digest,
            expected: self.descriptor.size,
            found: self.read,
        }
    }
}

impl Read for CheckedBlob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(Err(interrupted)) = self.work.map(Patience::check) {
            return Err(self.faults.report(BlobError::Interrupted(interrupted)));
        }
        let is_checked = self.identity == Identity::Blob;
        let count = match self.stream.read(buffer) {
            Ok(count) => count,
            // Of a blob that is cut short, the length says more than the digest.
            Err(error) if is_checked && self.read < self.descriptor.size && is_mismatch(&error) => {
                return Err(self.faults.report(self.wrong_size()));
            }
            Err(error) if !is_checked && is_mismatch(&error) => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.faults.report(self.fault(error))),
        };
        self.read += count as u64;
        let is_end = count == 0 && !buffer.is_empty();
        if is_checked
            && (self.read > self.descriptor.size || (is_end && self.read < self.descriptor.size))
        {
            return Err(self.faults.report(self.wrong_size()));
        }
        if count > 0 {
            (self.advance)(count as u64);
        }
        Ok(count)
    }
}

fn is_mismatch(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<DigestMismatch>())
}

/// The uncompressed bytes of a layer.
///
/// Reading to the end without an error means that the compressed blob was the right one, to the last bit.
pub(crate) struct LayerStream<'a> {
    decoder: Decoder<'a>,
    digest: Digest,
    faults: FaultSlot,
}

impl<'a> LayerStream<'a> {
    /// Opens a layer. `advance` is told of compressed bytes as they come.
    pub(crate) fn open(
        blob: BlobReader<'a>,
        descriptor: &Descriptor,
        limit: u64,
        work: &'a Patience,
        advance: impl FnMut(u64) + Send + 'a,
    ) -> Result<Self, BlobError> {
        let faults = FaultSlot::default();
        let checked = CheckedBlob {
            work: Some(work),
            ..checked(blob, descriptor, faults.clone(), Box::new(advance))
        };
        match Decoder::new(checked, limit) {
            Ok(decoder) => Ok(Self {
                decoder,
                digest: descriptor.digest,
                faults,
            }),
            Err(error) => Err(faults
                .take()
                .unwrap_or_else(|| decoder_fault(descriptor.digest, error))),
        }
    }

    /// What went wrong, if reading ended with an error of the blob's.
    pub(crate) fn fault(&self) -> Option<BlobError> {
        self.faults.take()
    }
}

impl Read for LayerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            if self.faults.is_set() || error.kind() == io::ErrorKind::Interrupted {
                error
            } else {
                self.faults.report(decoder_fault(self.digest, error))
            }
        })
    }
}

fn decoder_fault(digest: Digest, error: io::Error) -> BlobError {
    match error.downcast::<DecompressError>() {
        Ok(source) => BlobError::Refused { digest, source },
        Err(source) => BlobError::Decompress { digest, source },
    }
}

fn checked<'a>(
    blob: BlobReader<'a>,
    descriptor: &Descriptor,
    faults: FaultSlot,
    advance: Box<dyn FnMut(u64) + Send + 'a>,
) -> CheckedBlob<'a> {
    CheckedBlob {
        stream: VerifyingReader::new(blob.stream, descriptor.digest),
        descriptor: descriptor.clone(),
        identity: blob.identity,
        read: 0,
        faults,
        work: None,
        advance,
    }
}

/// Reads a whole blob of at most `limit` bytes, and checks it.
pub(crate) fn read_small(
    blob: BlobReader<'_>,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Vec<u8>, BlobError> {
    if descriptor.size > limit {
        return Err(BlobError::TooLarge {
            digest: descriptor.digest,
            size: descriptor.size,
            limit,
        });
    }
    let faults = FaultSlot::default();
    let mut stream = checked(blob, descriptor, faults.clone(), Box::new(|_| {}));
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(faults.take().unwrap_or(BlobError::Read {
            digest: descriptor.digest,
            source,
        })),
    }
}

/// Checks bytes that are here already.
pub(crate) fn check(bytes: Vec<u8>, descriptor: &Descriptor) -> Result<Vec<u8>, BlobError> {
    let found = Digest::of(&bytes);
    if bytes.len() as u64 != descriptor.size {
        let (expected, found) = (descriptor.size, bytes.len() as u64);
        return Err(BlobError::Size {
            digest: descriptor.digest,
            expected,
            found,
        });
    }
    if found != descriptor.digest {
        return Err(BlobError::Digest {
            digest: descriptor.digest,
            found,
        });
    }
    Ok(bytes)
}
