//! The document around a manifest: format, content, and the digest of both at its end.

use super::{FORMAT, MAX_BYTES, Manifest, ManifestError};
use crate::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What stands between the content and the digest, and behind the digest. Fixed, so that the end can be cut off
/// without understanding what is in front of it.
const BEFORE_DIGEST: &str = ",\n  \"digest\": \"";
const BEHIND_DIGEST: &str = "\"\n}\n";
const DIGEST_LEN: usize = "sha256:".len() + 2 * Digest::LEN;

/// What the digest is of, once its closing brace is gone.
#[derive(Serialize)]
struct Document<'m> {
    format: u32,
    snapshot: &'m Manifest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedDocument {
    #[serde(rename = "format")]
    _format: u32,
    snapshot: Manifest,
    #[serde(rename = "digest")]
    _digest: Digest,
}

/// All that is read before the format is known.
#[derive(Deserialize)]
struct AnyFormat {
    format: u64,
}

impl Manifest {
    /// Reads a document and checks that it is whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLong { bytes: bytes.len() });
        }
        let AnyFormat { format } = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if format != u64::from(FORMAT) {
            return Err(ManifestError::Format { found: format });
        }
        let expected = check_seal(bytes)?;
        let SealedDocument { snapshot, .. } =
            serde_json::from_slice(bytes).map_err(ManifestError::Malformed)?;
        snapshot.check()?;
        if snapshot.digest() != expected {
            return Err(ManifestError::NotCanonical);
        }
        Ok(snapshot)
    }

    /// The document.
    pub fn to_json(&self) -> String {
        let mut text = self.unsealed();
        let digest = Digest::of(text.as_bytes()).to_string();
        text.push_str(BEFORE_DIGEST);
        text.push_str(&digest);
        text.push_str(BEHIND_DIGEST);
        text
    }

    /// What the document ends with: the snapshot's own digest, by which others name it as their base.
    pub fn digest(&self) -> Digest {
        Digest::of(self.unsealed().as_bytes())
    }

    /// The document up to its digest.
    fn unsealed(&self) -> String {
        let sorted = Self {
            workload: sort(&self.workload),
            ..self.clone()
        };
        let document = Document {
            format: FORMAT,
            snapshot: &sorted,
        };
        let mut text = serde_json::to_string_pretty(&document)
            .expect("a manifest has string keys and no floats but JSON's own");
        text.truncate(text.len() - "\n}".len());
        text
    }

    fn check(&self) -> Result<(), ManifestError> {
        for disk in &self.disks {
            let unfit = |file: &&String| {
                file.is_empty() || file.starts_with('.') || file.contains(['/', '\0'])
            };
            if let Some(file) = disk.files.iter().find(unfit) {
                return Err(ManifestError::DiskFile {
                    slot: disk.slot,
                    file: file.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The digest a document ends with, if it is right.
fn check_seal(bytes: &[u8]) -> Result<Digest, ManifestError> {
    let tail = BEFORE_DIGEST.len() + DIGEST_LEN + BEHIND_DIGEST.len();
    let (content, tail) = bytes
        .split_at_checked(bytes.len().wrapping_sub(tail))
        .ok_or(ManifestError::Unsealed)?;
    let expected: Digest = std::str::from_utf8(tail)
        .ok()
        .and_then(|tail| {
            tail.strip_prefix(BEFORE_DIGEST)?
                .strip_suffix(BEHIND_DIGEST)
        })
        .and_then(|digest| digest.parse().ok())
        .ok_or(ManifestError::Unsealed)?;
    match Digest::of(content) {
        found if found == expected => Ok(expected),
        found => Err(ManifestError::Damaged { expected, found }),
    }
}

/// The same value with its members in the order of their names: serde_json keeps them so or not, depending on a
/// feature that any crate of the final program may turn on, and the digest must not depend on that.
fn sort(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let sorted = members
                .into_iter()
                .map(|(name, value)| (name.clone(), sort(value)));
            Value::Object(sorted.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sort).collect()),
        plain => plain.clone(),
    }
}
