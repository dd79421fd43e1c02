//! The read-only root disk of an image: a metadata file of its own, and the data of its layers.
//!
//! A layer's data is on the disk whole: what an upper layer deletes has no name any more, but a guest that reads the
//! raw disk still finds its bytes. So does anyone who can pull the image.

use crate::digest::{Digest, Hasher};
use crate::erofs;
use crate::fsutil::{self, Context, FsError, Scratch};
use crate::layer::{EntryName, Layer, LayerError, Refusal};
use crate::tree::{MergeError, Tree};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The composed root file systems below one home directory.
#[derive(Debug, Clone)]
pub struct RootStore {
    home: PathBuf,
}

/// A root file system as a block device: the concatenation of the pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootImage {
    /// Name of the root in the store: digest of the ordered diff_ids and the format's version.
    pub key: Digest,
    /// Digest of the file system's metadata: the same layers give the same bytes on every machine.
    pub digest: Digest,
    /// Metadata first, then the layers' data, bottom first. Empty pieces are left out.
    pub pieces: Vec<Piece>,
}

/// One file of a root disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes, a multiple of 4096.
    pub len: u64,
}

/// A metadata file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFile {
    /// As [`RootImage::key`].
    pub key: Digest,
    /// The metadata file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
}

/// A root that could not be composed, found, checked or removed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A step on the store's files failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A layer cannot be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer does not fit on those below it.
    #[error("refused the entry {entry} of layer {diff_id}: {reason}")]
    Refused {
        /// The layer.
        diff_id: Digest,
        /// Its entry.
        entry: EntryName,
        /// Why.
        reason: Refusal,
    },
    /// The layers are larger than the file system can address.
    #[error("the image needs {blocks} blocks of 4 KiB; a root disk holds at most {max}")]
    TooLarge {
        /// Metadata and data.
        blocks: u64,
        /// The limit of 32-bit block addresses.
        max: u64,
    },
    /// The metadata file is not what was written.
    #[error("the stored root {} is damaged: remove the image and pull it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl RootStore {
    /// Opens, and if needed creates, `HOME/roots` and `HOME/tmp`.
    pub fn open(home: &Path) -> Result<Self, RootError> {
        let store = Self {
            home: home.to_owned(),
        };
        fsutil::create_private_dir(&store.roots())?;
        fsutil::create_private_dir(&home.join("tmp"))?;
        Ok(store)
    }

    /// Composes, or finds, the root file system of these layers, bottom first. Deterministic.
    pub fn compose(&self, layers: &[Layer]) -> Result<RootImage, RootError> {
        let key = key(layers);
        let path = self.path(&key);
        let header = match read_header(&path)? {
            Some(header) if header.key == key => header,
            _ => self.write(key, &path, layers)?,
        };
        let mut pieces = vec![Piece {
            path,
            len: header.len,
        }];
        let data = layers.iter().map(|layer| Piece {
            path: layer.data_path(),
            len: layer.data_len(),
        });
        pieces.extend(data.filter(|piece| piece.len > 0));
        Ok(RootImage {
            key,
            digest: header.digest,
            pieces,
        })
    }

    /// Deletes a root's metadata file. `false` if it was not there. The caller knows that nothing needs it.
    pub fn remove(&self, key: &Digest) -> Result<bool, RootError> {
        Ok(fsutil::discard(&self.home, &self.path(key))?)
    }

    /// All metadata files, in order of their keys.
    pub fn list(&self) -> Result<Vec<RootFile>, RootError> {
        let directory = self.roots();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&directory).context("list", &directory)? {
            let path = entry.context("list", &directory)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(key) = name.and_then(|name| Digest::from_hex(name.strip_suffix(SUFFIX)?))
            else {
                continue;
            };
            let len = path.metadata().context("stat", &path)?.len();
            files.push(RootFile { key, path, len });
        }
        files.sort_unstable_by_key(|file| file.key);
        Ok(files)
    }

    /// Compares a metadata file with its checksum, and the pieces with their lengths.
    pub fn verify(&self, root: &RootImage) -> Result<(), RootError> {
        for piece in &root.pieces {
            let damaged = || RootError::Damaged {
                path: piece.path.clone(),
            };
            let len = match piece.path.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged()),
                result => result.context("stat", &piece.path)?.len(),
            };
            if len != piece.len {
                return Err(damaged());
            }
        }
        let path = self.path(&root.key);
        let header = read_header(&path)?;
        if header.is_some_and(|header| header.key == root.key && header.digest == root.digest)
            && file_digest(&path)? == root.digest
        {
            Ok(())
        } else {
            Err(RootError::Damaged { path })
        }
    }

    fn write(&self, key: Digest, path: &Path, layers: &[Layer]) -> Result<Header, RootError> {
        let tree = merge(layers)?;
        let lengths: Vec<u64> = layers.iter().map(Layer::data_len).collect();
        let uuid = key.as_bytes()[..16]
            .try_into()
            .expect("a digest has 32 bytes");
        let image =
            erofs::Image::plan(&tree, &lengths, uuid).map_err(|blocks| RootError::TooLarge {
                blocks,
                max: erofs::MAX_BLOCKS,
            })?;
        if let Err(error) = fsutil::sweep(&self.home) {
            tracing::warn!(%error, "cannot remove what a killed process left");
        }
        let scratch = Scratch::create(&self.home)?;
        let temporary = scratch.path().join(METADATA);
        let file = fsutil::create_private_file(&temporary)?;
        let written = image.write(&mut &file).context("write", &temporary)?;
        let header = Header {
            len: written.len,
            key,
            digest: written.digest,
        };
        file.write_all_at(&header.encode(), 0)
            .context("write", &temporary)?;
        file.sync_all().context("sync", &temporary)?;
        scratch.publish_file(METADATA, path)?;
        Ok(header)
    }

    fn roots(&self) -> PathBuf {
        self.home.join("roots")
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.roots().join(key.hex() + SUFFIX)
    }
}

const SUFFIX: &str = ".erofs";
const METADATA: &str = "metadata";

/// Changes whenever the same layers would give other bytes.
const VERSION: u32 = 1;

fn key(layers: &[Layer]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(format!("supermachine root {VERSION}\n").as_bytes());
    for layer in layers {
        hasher.update(layer.diff_id.as_bytes());
    }
    hasher.finish()
}

fn merge(layers: &[Layer]) -> Result<Tree, RootError> {
    let mut tree = Tree::new();
    for (number, layer) in layers.iter().enumerate() {
        tree.apply(number as u32, layer.read_index()?).map_err(
            |MergeError { entry, reason }| RootError::Refused {
                diff_id: layer.diff_id,
                entry,
                reason,
            },
        )?;
    }
    Ok(tree)
}

/// Our own note in the part of the disk that no file system looks at: what this file is, and whether it is whole.
///
/// ```text
/// 0       8         12     16    24    56       88             92
/// | magic | version | zero | len | key | digest | crc32c of 0..88 |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    len: u64,
    key: Digest,
    digest: Digest,
}

const MAGIC: &[u8; 8] = b"SMROOT\n\0";
const HEADER_LEN: usize = 92;
const _: () = assert!(HEADER_LEN as u64 <= erofs::SUPERBLOCK_OFFSET);

impl Header {
    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..56].copy_from_slice(self.key.as_bytes());
        bytes[56..88].copy_from_slice(self.digest.as_bytes());
        let checksum = crc32c::crc32c(&bytes[..88]);
        bytes[88..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let digest_at = |at: usize| Some(Digest::from_bytes(bytes[at..at + 32].try_into().ok()?));
        let header = Self {
            len: u64::from_le_bytes(bytes[16..24].try_into().ok()?),
            key: digest_at(24)?,
            digest: digest_at(56)?,
        };
        (header.encode() == *bytes).then_some(header)
    }
}

/// `None` if there is no such file, or not a whole one.
fn read_header(path: &Path) -> Result<Option<Header>, FsError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.context("open", path)?,
    };
    let mut bytes = [0; HEADER_LEN];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result.context("read", path)?,
    }
    let len = file.metadata().context("stat", path)?.len();
    Ok(Header::decode(&bytes).filter(|header| header.len == len))
}

fn file_digest(path: &Path) -> Result<Digest, FsError> {
    let mut file = File::open(path).context("open", path)?;
    file.seek(io::SeekFrom::Start(erofs::SUPERBLOCK_OFFSET))
        .context("read", path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).context("read", path)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
