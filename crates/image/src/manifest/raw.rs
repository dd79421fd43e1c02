//! Documents as they are written, before anything in them is believed.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, ENTRY_LIMIT, Manifest, ManifestError,
    OCI_INDEX, OCI_MANIFEST,
};
use crate::digest::Digest;
use crate::platform::Platform;

/// Any document. Every list may be missing or null: Go's encoder writes nil slices as null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: Option<u32>,
    #[serde(default, deserialize_with = "lax_text")]
    media_type: String,
    #[serde(default, deserialize_with = "lax_text")]
    artifact_type: String,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default, deserialize_with = "lax_text")]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
    annotations: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default, deserialize_with = "lax_text")]
    os: String,
    #[serde(default, deserialize_with = "lax_text")]
    architecture: String,
    #[serde(default, deserialize_with = "lax_text")]
    variant: String,
}

/// A text, or nothing where the field is null or of another type.
fn lax_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        _ => Ok(String::new()),
    }
}

const SCHEMA1_PREFIX: &str = "application/vnd.docker.distribution.manifest.v1+";
const MANIFEST_TYPES: [&str; 2] = [OCI_MANIFEST, DOCKER_MANIFEST];
const INDEX_TYPES: [&str; 2] = [OCI_INDEX, DOCKER_LIST];

pub(super) fn parse(bytes: &[u8], declared: &str) -> Result<Document, ManifestError> {
    // Parameters such as `; charset=utf-8` say nothing about the document.
    let declared = declared.split(';').next().unwrap_or_default().trim();
    let raw: RawDocument = match serde_json::from_slice(bytes) {
        Ok(raw) => raw,
        Err(_) if looks_like_html(bytes, declared) => return Err(ManifestError::Html),
        Err(error) => return Err(ManifestError::Json(error)),
    };
    let types = [declared, &raw.media_type];
    if raw.schema_version == Some(1)
        || raw.fs_layers.is_some()
        || types
            .iter()
            .any(|media_type| media_type.starts_with(SCHEMA1_PREFIX))
    {
        return Err(ManifestError::Schema1);
    }
    let claims = |known: [&str; 2]| types.iter().any(|media_type| known.contains(media_type));
    let is_manifest = raw.config.is_some() || raw.layers.is_some();
    let is_index = raw.manifests.is_some();
    match (is_manifest, is_index) {
        (true, true) => Err(ManifestError::Ambiguous),
        (true, false) if claims(INDEX_TYPES) => Err(ManifestError::Ambiguous),
        (false, true) if claims(MANIFEST_TYPES) => Err(ManifestError::Ambiguous),
        (true, false) => manifest(raw),
        (false, true) => index(raw.manifests.unwrap_or_default()),
        // An index without entries is written with null by some tools.
        (false, false) if claims(INDEX_TYPES) => index(Vec::new()),
        (false, false) => {
            let media_type = if raw.media_type.is_empty() {
                declared.to_owned()
            } else {
                raw.media_type
            };
            Err(ManifestError::Unknown { media_type })
        }
    }
}

fn looks_like_html(bytes: &[u8], declared: &str) -> bool {
    declared == "text/html" || bytes.trim_ascii_start().starts_with(b"<")
}

fn manifest(raw: RawDocument) -> Result<Document, ManifestError> {
    let Some(config) = raw.config else {
        return Err(ManifestError::Unknown {
            media_type: raw.media_type,
        });
    };
    if !raw.artifact_type.is_empty() && config.media_type.starts_with("application/vnd.oci.empty.")
    {
        return Err(ManifestError::Artifact {
            media_type: raw.artifact_type,
        });
    }
    let layers = raw
        .layers
        .unwrap_or_default()
        .into_iter()
        .map(descriptor)
        .collect::<Result<_, _>>()?;
    Manifest {
        config: descriptor(config)?,
        layers,
    }
    .check()
    .map(Document::Manifest)
}

fn index(entries: Vec<RawDescriptor>) -> Result<Document, ManifestError> {
    if entries.len() > ENTRY_LIMIT {
        return Err(ManifestError::TooMany {
            what: "manifests",
            count: entries.len(),
            limit: ENTRY_LIMIT,
        });
    }
    // Entries we could not check are as good as absent, unless nothing else is there.
    let is_checkable = |entry: &RawDescriptor| Digest::parse(&entry.digest).is_ok();
    let any_checkable = entries.iter().any(is_checkable);
    let usable = entries
        .into_iter()
        .filter(|entry| !any_checkable || is_checkable(entry));
    usable
        .map(descriptor)
        .collect::<Result<_, _>>()
        .map(Document::Index)
}

fn descriptor(raw: RawDescriptor) -> Result<Descriptor, ManifestError> {
    let digest =
        Digest::parse(&raw.digest).map_err(|_| ManifestError::Digest { digest: raw.digest })?;
    let platform = raw.platform.and_then(|p| {
        let is_said = !p.os.is_empty() && !p.architecture.is_empty();
        is_said.then(|| Platform::new(&p.os, &p.architecture, &p.variant))
    });
    let annotations = raw.annotations.unwrap_or_default();
    let names = [
        "org.opencontainers.image.ref.name",
        "io.containerd.image.name",
    ]
    .into_iter()
    .filter_map(|key| annotations.get(key)?.as_str().map(str::to_owned))
    .collect();
    Ok(Descriptor {
        media_type: raw.media_type,
        digest,
        size: raw.size,
        platform,
        names,
    })
}
