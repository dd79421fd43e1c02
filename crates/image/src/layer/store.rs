//! The layers on disk, one directory each, shared by all images and all processes.

use super::data::DataWriter;
use super::index::{Header, Index};
use super::{Damage, LayerError, Limits, import, verify};
use crate::digest::{Digest, Hasher};
use crate::fsutil::{self, Context, FsError, Published, Scratch};
use crate::rootfs_dir;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The stored layers below one home directory.
#[derive(Debug, Clone)]
pub struct LayerStore {
    home: PathBuf,
}

/// A layer that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the uncompressed archive, the layer's name.
    pub diff_id: Digest,
    pub(crate) directory: PathBuf,
    pub(crate) data_len: u64,
}

const DATA: &str = "data";
const INDEX: &str = "index";

impl Layer {
    /// The contents of all regular files.
    pub fn data_path(&self) -> PathBuf {
        self.directory.join(DATA)
    }

    /// The index of all entries.
    pub fn index_path(&self) -> PathBuf {
        self.directory.join(INDEX)
    }

    /// Length of the data with its holes, a multiple of [`super::BLOCK_SIZE`].
    pub const fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Bytes this layer takes on the disk.
    pub fn disk_usage(&self) -> Result<u64, LayerError> {
        let allocated = |path: PathBuf| {
            path.metadata()
                .context("stat", &path)
                .map(|file| file.blocks() * 512)
        };
        Ok(allocated(self.data_path())? + allocated(self.index_path())?)
    }

    /// Reads and checks the index, and the length of the data.
    pub(crate) fn read_index(&self) -> Result<Index, LayerError> {
        let path = self.index_path();
        let damaged = |what| LayerError::Damaged {
            path: path.clone(),
            what,
        };
        let file = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(Damage::Missing));
            }
            result => result.context("read", &path)?,
        };
        let (header, index) = Index::decode(&file).map_err(damaged)?;
        if header.diff_id != self.diff_id {
            return Err(damaged(Damage::DiffId(header.diff_id)));
        }
        check_data(&self.data_path(), header.data_len)?;
        Ok(index)
    }
}

impl LayerStore {
    /// Opens, and if needed creates, `HOME/layers` and `HOME/tmp`.
    pub fn open(home: &Path) -> Result<Self, LayerError> {
        let store = Self {
            home: home.to_owned(),
        };
        fsutil::create_private_dir(&store.layers())?;
        fsutil::create_private_dir(&home.join("tmp"))?;
        Ok(store)
    }

    /// Finds a layer. Checks that its files are there, have their lengths and belong to it, in constant time.
    pub fn get(&self, diff_id: &Digest) -> Result<Option<Layer>, LayerError> {
        let directory = self.directory(diff_id);
        if !directory.try_exists().context("find", &directory)? {
            return Ok(None);
        }
        let index = directory.join(INDEX);
        let header = read_header(&index)?;
        if header.diff_id != *diff_id {
            return Err(LayerError::Damaged {
                path: index,
                what: Damage::DiffId(header.diff_id),
            });
        }
        check_data(&directory.join(DATA), header.data_len)?;
        Ok(Some(Layer {
            diff_id: *diff_id,
            directory,
            data_len: header.data_len,
        }))
    }

    /// Reads an uncompressed tar stream to its end, checks that it is `diff_id`, and publishes the layer.
    ///
    /// Memory is bounded by the number of entries, not by their data. Two processes that import the same layer both
    /// succeed; one directory is the result. Nothing is visible before the last byte was checked. A layer that is
    /// there already is returned without reading, a damaged one is replaced.
    pub fn import(
        &self,
        diff_id: &Digest,
        tar: &mut dyn Read,
        limits: &Limits,
    ) -> Result<Layer, LayerError> {
        if let Some(layer) = self.usable(diff_id)? {
            return Ok(layer);
        }
        let (scratch, mut data) = self.begin(None)?;
        let (index, found) = import::read_tar(tar, &mut data, limits)?;
        if found != *diff_id {
            return Err(LayerError::DiffId {
                expected: *diff_id,
                found,
            });
        }
        let (data_len, _) = data.finish()?;
        self.publish(&scratch, *diff_id, &index.encode_body(), data_len)
    }

    /// Makes a layer from a directory as it is: the whole tree, but not what is mounted below it, nor this store.
    ///
    /// The `diff_id` is computed from the content, so an unchanged directory gives the same layer.
    pub fn import_dir(&self, dir: &Path, limits: &Limits) -> Result<Layer, LayerError> {
        let mut hasher = Hasher::new();
        hasher.update(b"supermachine rootfs directory 1\n");
        let (scratch, mut data) = self.begin(Some(hasher))?;
        let body = rootfs_dir::read_dir(dir, &self.home, &mut data, limits)?.encode_body();
        let (data_len, hasher) = data.finish()?;
        let mut hasher = hasher.expect("the writer was given one");
        hasher.update(&body);
        hasher.update(&(body.len() as u64).to_le_bytes());
        let diff_id = hasher.finish();
        match self.usable(&diff_id)? {
            Some(layer) => Ok(layer),
            None => self.publish(&scratch, diff_id, &body, data_len),
        }
    }

    /// Deletes a layer. `false` if it was not there. The caller knows that nothing needs it.
    pub fn remove(&self, diff_id: &Digest) -> Result<bool, LayerError> {
        Ok(fsutil::discard(&self.home, &self.directory(diff_id))?)
    }

    /// All layers in order of their digests, damaged ones too: [`Self::verify`] tells which.
    pub fn list(&self) -> Result<Vec<Layer>, LayerError> {
        let path = self.layers();
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(&path).context("list", &path)? {
            let entry = entry.context("list", &path)?;
            let Some(diff_id) = entry.file_name().to_str().and_then(Digest::from_hex) else {
                continue;
            };
            let directory = entry.path();
            let data_len = directory.join(DATA).metadata().map_or(0, |data| data.len());
            layers.push(Layer {
                diff_id,
                directory,
                data_len,
            });
        }
        layers.sort_unstable_by_key(|layer| layer.diff_id);
        Ok(layers)
    }

    /// Reads the whole layer and compares it with its checksums.
    pub fn verify(&self, layer: &Layer) -> Result<(), LayerError> {
        verify::contents(&layer.read_index()?, &layer.data_path())
    }

    /// A layer that can be used as it is; one that cannot is taken away.
    fn usable(&self, diff_id: &Digest) -> Result<Option<Layer>, LayerError> {
        match self.get(diff_id) {
            Err(LayerError::Damaged { path, what }) => {
                tracing::warn!(%diff_id, path = %path.display(), %what, "replacing a damaged layer");
                self.remove(diff_id)?;
                Ok(None)
            }
            result => result,
        }
    }

    fn begin(&self, hasher: Option<Hasher>) -> Result<(Scratch, DataWriter), LayerError> {
        if let Err(error) = fsutil::sweep(&self.home) {
            tracing::warn!(%error, "cannot remove what a killed process left");
        }
        let scratch = Scratch::create(&self.home)?;
        let path = scratch.path().join(DATA);
        let data = DataWriter::new(fsutil::create_private_file(&path)?, &path, hasher);
        Ok((scratch, data))
    }

    fn publish(
        &self,
        scratch: &Scratch,
        diff_id: Digest,
        body: &[u8],
        data_len: u64,
    ) -> Result<Layer, LayerError> {
        let path = scratch.path().join(INDEX);
        let mut file = fsutil::create_private_file(&path)?;
        file.write_all(&Index::encode(body, diff_id, data_len))
            .context("write", &path)?;
        file.sync_all().context("sync", &path)?;
        let directory = self.directory(&diff_id);
        match scratch.publish(&directory)? {
            Published::New => tracing::debug!(%diff_id, data_len, "layer stored"),
            Published::AlreadyThere => {
                tracing::debug!(%diff_id, "layer stored by another process meanwhile");
            }
        }
        Ok(Layer {
            diff_id,
            directory,
            data_len,
        })
    }

    fn layers(&self) -> PathBuf {
        self.home.join("layers")
    }

    fn directory(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }
}

fn read_header(path: &Path) -> Result<Header, LayerError> {
    let damaged = |what| LayerError::Damaged {
        path: path.to_owned(),
        what,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(Damage::Missing));
        }
        result => result.context("open", path)?,
    };
    let mut bytes = [0; Header::LEN];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(Damage::Header));
        }
        result => result.context("read", path)?,
    }
    let header = Header::decode(&bytes).map_err(damaged)?;
    let len = file.metadata().context("stat", path)?.len();
    if len.checked_sub(Header::LEN as u64) == Some(header.body_len) {
        Ok(header)
    } else {
        Err(damaged(Damage::Header))
    }
}

fn check_data(path: &Path, expected: u64) -> Result<(), LayerError> {
    let what = match path.metadata() {
        Ok(data) if data.len() == expected => return Ok(()),
        Ok(data) => Damage::Length {
            expected,
            found: data.len(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Damage::Missing,
        Err(error) => return Err(FsError::new("stat", path, error).into()),
    };
    Err(LayerError::Damaged {
        path: path.to_owned(),
        what,
    })
}
