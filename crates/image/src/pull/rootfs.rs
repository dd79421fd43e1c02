//! A directory as an image: one layer, and a config that says no more than the platform.
use std::path::Path;

use serde_json::json;

use super::{Pull, PullError};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Selected};
use crate::store::StoredImage;

impl Pull<'_> {
    /// Imports the directory as it is now. An unchanged one gives the same image.
    pub(super) fn directory(&self, dir: &Path) -> Result<StoredImage, PullError> {
        let failed = |source| PullError::Directory {
            reference: self.reference.to_string(),
            source: Box::new(source),
        };
        let layer = self
            .store
            .layers
            .import_dir(dir, &self.options.limits)
            .map_err(failed)?;
        let config = json!({
            "os": self.platform.os,
            "architecture": self.platform.architecture,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        });
        let config = config.to_string().into_bytes();
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            names: Vec::new(),
        };
        let manifest = Manifest {
            config: descriptor(OCI_CONFIG, Digest::of(&config), config.len() as u64),
            layers: vec![descriptor(OCI_LAYER, layer.diff_id, layer.data_len())],
        };
        let entry =
            |d: &Descriptor| json!({"mediaType": d.media_type, "digest": d.digest, "size": d.size});
        let bytes = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": entry(&manifest.config),
            "layers": [entry(&manifest.layers[0])],
        });
        let bytes = bytes.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        if let Some(image) = self.in_store(&digest, &digest)? {
            return Ok(image);
        }
        self.publish(
            &Selected {
                digest,
                bytes,
                manifest,
            },
            &config,
            &[layer],
            digest,
        )
    }
}
