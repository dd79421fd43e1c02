//! Reading everything again and comparing it with its digests.
use std::collections::BTreeSet;
use std::fmt;

use super::error::Corruption;
use super::{Store, StoreError};
use crate::digest::Digest;

/// Something in the store that is not what was written.
#[derive(Debug)]
pub enum Damage {
    /// An image's manifest, config or description of its root, or a part it needs that is not there.
    Image {
        /// The image.
        digest: Digest,
        /// What is wrong.
        cause: Box<Corruption>,
    },
    /// A layer's data or index.
    Layer {
        /// The layer.
        diff_id: Digest,
        /// What is wrong.
        cause: Box<Corruption>,
    },
    /// A root's metadata.
    Root {
        /// The image it belongs to.
        image: Digest,
        /// What is wrong.
        cause: Box<Corruption>,
    },
    /// A name of an image that is not there.
    Name {
        /// The name.
        name: String,
        /// The image.
        digest: Digest,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Image { digest, cause } => write!(f, "image {digest}: {}", chain(cause)),
            Damage::Layer { diff_id, cause } => write!(f, "layer {diff_id}: {}", chain(cause)),
            Damage::Root { image, cause } => write!(f, "root of image {image}: {}", chain(cause)),
            Damage::Name { name, digest } => {
                write!(f, "name {name}: image {digest} is not in the store")
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

impl Store {
    /// Reads everything and reports what is damaged. Damage to one part does not hide that of another.
    pub fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        // Nothing may be collected while it is read.
        let _adding = self.lock_adding()?;
        let mut found = Vec::new();
        let mut bad_layers = BTreeSet::new();
        for layer in self.layers.list()? {
            if let Err(error) = self.layers.verify(&layer) {
                bad_layers.insert(layer.diff_id);
                found.push(Damage::Layer {
                    diff_id: layer.diff_id,
                    cause: Box::new(error.into()),
                });
            }
        }
        let images = self.image_digests()?;
        for digest in &images {
            self.verify_image(*digest, &bad_layers, &mut found);
        }
        for (name, entry) in self.names()? {
            if !images.contains(&entry.image) {
                found.push(Damage::Name {
                    name,
                    digest: entry.image,
                });
            }
        }
        Ok(found)
    }

    fn verify_image(&self, digest: Digest, bad_layers: &BTreeSet<Digest>, found: &mut Vec<Damage>) {
        let record = match self.read_image(&digest) {
            Ok((_, record)) => record,
            Err(cause) => {
                return found.push(Damage::Image {
                    digest,
                    cause: Box::new(cause),
                });
            }
        };
        // A root over a damaged layer cannot be judged, and the layer is reported.
        if record
            .layers
            .iter()
            .any(|diff_id| bad_layers.contains(diff_id))
        {
            return;
        }
        let checked = self
            .layers_of(&record)
            .and_then(|layers| Ok(self.roots.compose(&layers)?));
        match checked {
            Ok(root) => {
                if let Err(error) = self.roots.verify(&root) {
                    found.push(Damage::Root {
                        image: digest,
                        cause: Box::new(error.into()),
                    });
                } else if (root.key, root.digest) != (record.key, record.metadata) {
                    let file = self.image_dir(&digest).join(super::images::ROOT);
                    found.push(Damage::Image {
                        digest,
                        cause: Box::new(Corruption::Root { file }),
                    });
                }
            }
            Err(Corruption::RootImage(error)) => {
                found.push(Damage::Root {
                    image: digest,
                    cause: Box::new(error.into()),
                });
            }
            Err(cause) => found.push(Damage::Image {
                digest,
                cause: Box::new(cause),
            }),
        }
    }
}
