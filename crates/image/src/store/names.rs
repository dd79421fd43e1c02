//! The index of names.
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsutil::{self, Context, Lock};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameEntry {
    /// The manifest.
    pub(crate) image: Digest,
    /// The document the name led to: the manifest, or the index it was chosen from.
    pub(crate) source: Digest,
    /// Since when it does, in seconds since 1970.
    pub(crate) pulled: u64,
}

pub(crate) type Names = BTreeMap<String, NameEntry>;

#[derive(Serialize, Deserialize)]
struct File {
    names: Names,
}

impl Store {
    fn names_path(&self) -> PathBuf {
        self.images_dir().join("names.json")
    }

    /// All names. A reader sees the index before or after a change, never half of one.
    pub(crate) fn names(&self) -> Result<Names, StoreError> {
        let path = self.names_path();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Names::new()),
            result => result.context("read", &path)?,
        };
        match serde_json::from_slice::<File>(&bytes) {
            Ok(file) => Ok(file.names),
            Err(source) => Err(StoreError::Names { path, source }),
        }
    }

    /// Changes the index. Other processes wait meanwhile, so no change is lost.
    pub(super) fn change_names<T>(
        &self,
        change: impl FnOnce(&mut Names) -> T,
    ) -> Result<T, StoreError> {
        let _lock = Lock::exclusive(&self.images_dir().join("names.lock"))?;
        let before = self.names()?;
        let mut names = before.clone();
        let result = change(&mut names);
        if names != before {
            // Sorted keys and one entry a line: people do look into it.
            let mut bytes =
                serde_json::to_vec_pretty(&File { names }).expect("names are plain JSON");
            bytes.push(b'\n');
            fsutil::replace_file(&self.home, &self.names_path(), &bytes)?;
        }
        Ok(result)
    }

    /// Lets a name stand for an image. If it does already, nothing is written: a sync of the disk
    /// at every start of a container would cost more than all the rest of it.
    pub(crate) fn set_name(&self, name: &str, entry: NameEntry) -> Result<(), StoreError> {
        let is_known =
            |known: &NameEntry| known.image == entry.image && known.source == entry.source;
        if self.names()?.get(name).is_some_and(is_known) {
            return Ok(());
        }
        self.change_names(|names| {
            names.insert(name.to_owned(), entry);
        })
    }
}
