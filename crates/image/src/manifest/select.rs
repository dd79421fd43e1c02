//! From an index to the one manifest for a platform.
use super::{Descriptor, Document, Manifest, ManifestError};
use crate::digest::Digest;
use crate::platform::Platform;

/// Documents read in search of an image. Real indexes need one or two.
const READ_LIMIT: usize = 32;

/// A document and the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) document: Document,
}

/// The manifest of one image and the bytes it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
}

/// Where the documents behind descriptors come from.
pub(crate) trait Documents {
    type Error: From<ManifestError>;

    /// Reads the manifest or index a descriptor names.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Fetched, Self::Error>;

    /// The platform an image config states, if it states one.
    fn config_platform(&mut self, config: &Descriptor) -> Result<Option<Platform>, Self::Error>;
}

/// Follows indexes from `start` to the best image for `wanted`.
///
/// Entries that state their platform are judged by it. Entries that do not are opened, and the
/// image config is asked. A manifest that is the only choice is taken as it is: its caller
/// compares the config with the platform in any case.
pub(crate) fn select<D: Documents>(
    start: Fetched,
    wanted: &Platform,
    from: &mut D,
) -> Result<Selected, D::Error> {
    let mut search = Search {
        wanted,
        from,
        reads: 0,
        available: Vec::new(),
    };
    let found = match start.document {
        Document::Manifest(manifest) => Some(Selected {
            digest: start.digest,
            bytes: start.bytes,
            manifest,
        }),
        Document::Index(entries) => search.in_index(&entries)?,
    };
    found.ok_or_else(|| search.not_found().into())
}

struct Search<'a, D> {
    wanted: &'a Platform,
    from: &'a mut D,
    reads: usize,
    available: Vec<Platform>,
}

impl<D: Documents> Search<'_, D> {
    fn in_index(&mut self, entries: &[Descriptor]) -> Result<Option<Selected>, D::Error> {
        if let [only] = entries
            && only.platform.is_none()
        {
            return self.open(only);
        }
        let mut fitting = Vec::new();
        for entry in entries {
            match &entry.platform {
                Some(platform) if platform.is_unknown() => {}
                Some(platform) => match platform.fitness(self.wanted) {
                    Some(fitness) => fitting.push((fitness, entry)),
                    None => self.available.push(platform.clone()),
                },
                None => {}
            }
        }
        fitting.sort_by_key(|(fitness, _)| *fitness);
        for (_, entry) in fitting {
            if let Some(found) = self.open(entry)? {
                return Ok(Some(found));
            }
        }
        for entry in entries.iter().filter(|entry| entry.platform.is_none()) {
            if let Some(found) = self.open(entry)?
                && self.config_fits(&found)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn open(&mut self, entry: &Descriptor) -> Result<Option<Selected>, D::Error> {
        self.count_read()?;
        let fetched = self.from.document(entry)?;
        match fetched.document {
            Document::Manifest(manifest) => Ok(Some(Selected {
                digest: fetched.digest,
                bytes: fetched.bytes,
                manifest,
            })),
            Document::Index(entries) => self.in_index(&entries),
        }
    }

    fn config_fits(&mut self, found: &Selected) -> Result<bool, D::Error> {
        self.count_read()?;
        match self.from.config_platform(&found.manifest.config)? {
            None => Ok(true),
            Some(platform) => {
                let fits = platform.fitness(self.wanted).is_some();
                if !fits {
                    self.available.push(platform);
                }
                Ok(fits)
            }
        }
    }

    fn count_read(&mut self) -> Result<(), ManifestError> {
        self.reads += 1;
        if self.reads > READ_LIMIT {
            return Err(ManifestError::TooDeep { limit: READ_LIMIT });
        }
        Ok(())
    }

    fn not_found(&mut self) -> ManifestError {
        self.available.sort();
        self.available.dedup();
        let available = match self.available.as_slice() {
            [] => "no platform at all".to_owned(),
            platforms => platforms
                .iter()
                .map(Platform::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        ManifestError::Platform {
            wanted: self.wanted.clone(),
            available,
        }
    }
}
