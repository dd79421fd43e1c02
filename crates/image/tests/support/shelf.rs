//! The documents and blobs of a well-behaved registry.
use super::image::TestImage;
use super::peer::{Answer, Request};
use ::image::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a registry serves.
#[derive(Clone, Default)]
pub struct Shelf {
    tags: BTreeMap<String, Digest>,
    manifests: BTreeMap<Digest, (String, Vec<u8>)>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

impl Shelf {
    pub fn of(image: &TestImage) -> Self {
        let mut shelf = Self::default();
        shelf.add(image, "latest");
        shelf
    }

    pub fn add(&mut self, image: &TestImage, tag: &str) {
        self.add_document(image.media_type, image.manifest.clone(), tag);
        self.blobs.extend(image.blobs());
    }

    pub fn add_document(&mut self, media_type: &str, bytes: Vec<u8>, tag: &str) {
        let digest = Digest::of(&bytes);
        self.manifests
            .insert(digest, (media_type.to_owned(), bytes));
        if !tag.is_empty() {
            self.tags.insert(tag.to_owned(), digest);
        }
    }

    pub fn add_index(&mut self, media_type: &str, entries: &[Value], tag: &str) -> Digest {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        let bytes = index.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.add_document(media_type, bytes, tag);
        digest
    }

    /// Puts other bytes under the digest of a blob.
    pub fn replace_blob(&mut self, digest: Digest, bytes: Vec<u8>) {
        self.blobs.insert(digest, bytes);
    }

    pub fn answer(&self, request: &Request) -> Answer {
        let (_, wanted) = request.target.rsplit_once('/').unwrap();
        let digest = Digest::parse(wanted).ok();
        if request.is_manifest() {
            let digest = digest.or_else(|| self.tags.get(wanted).copied());
            if let Some((digest, (media_type, bytes))) =
                digest.and_then(|d| Some((d, self.manifests.get(&d)?)))
            {
                return Answer::new(200, bytes.clone())
                    .with("Content-Type", media_type)
                    .with("Docker-Content-Digest", digest.to_string());
            }
        }
        if let Some(blob) = digest
            .and_then(|digest| self.blobs.get(&digest))
            .filter(|_| request.is_blob())
        {
            return ranged(blob, request);
        }
        Answer::new(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        )
        .with("Content-Type", "application/json")
    }
}

/// The whole, or the rest of it from where the request says.
fn ranged(blob: &[u8], request: &Request) -> Answer {
    let start = request.header("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    match start {
        None => Answer::new(200, blob),
        Some(start) if start < blob.len() => {
            let range = format!("bytes {start}-{}/{}", blob.len() - 1, blob.len());
            Answer::new(206, &blob[start..]).with("Content-Range", range)
        }
        Some(_) => Answer::new(416, ""),
    }
}
