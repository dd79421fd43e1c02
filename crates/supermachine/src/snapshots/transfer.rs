//! Snapshots on their way to other hosts and back.

use super::{Snapshot, check_name};
use crate::error::Error;
use crate::runtime::Runtime;
use crate::saved::{self, Arriving, SavedError, Staging};
use crate::supervisor::{FACTS, Facts};
use ::snapshot::manifest::{Image, Manifest};
use image::{ArtifactKind, Artifacts, Cancel, ImageRef, RegistryOptions, RegistryRef};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

/// What a registry calls a snapshot.
const KIND: ArtifactKind = ArtifactKind {
    artifact_type: "application/vnd.supermachine.snapshot.v1",
    blob_type: "application/vnd.supermachine.snapshot.v1.tar+zstd",
};

impl Snapshot {
    /// Writes it as one file that needs no other snapshot and no template, and verifies it on the way. The image is
    /// not in it. What was written before an error is of no use.
    pub fn export(&self, to: &mut impl Write) -> Result<(), Error> {
        Ok(saved::send(&self.saved, self.runtime.state(), to)?)
    }

    /// Puts it into a registry as an OCI artifact: what [`Self::export`] writes, as one blob. Gives the digest of the
    /// manifest.
    pub fn push(&self, to: &RegistryRef, cancel: &Cancel) -> Result<String, Error> {
        let shelf = self.runtime.state().snapshots();
        // Length and digest come first, so all of it is written here before any of it is sent.
        let file = unnamed(shelf.dir())?;
        self.export(&mut BufWriter::new(&file))?;
        let options = RegistryOptions::from_environment();
        let image = self.saved.manifest.image.as_ref();
        let annotations = [
            (
                "org.opencontainers.image.title",
                Some(self.name().to_owned()),
            ),
            (
                "org.opencontainers.image.base.name",
                image.map(|image| image.reference.clone()),
            ),
            (
                "org.opencontainers.image.base.digest",
                image.map(|image| image.digest.to_string()),
            ),
        ];
        let annotations = annotations
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        let digest = Artifacts::new(to, &options, cancel).push(KIND, file, &annotations)?;
        Ok(digest.to_string())
    }

    /// The error a start would end with because the image is not in the store.
    pub fn missing_image(&self) -> Result<Option<Error>, Error> {
        let Some(image) = &self.saved.manifest.image else {
            return Ok(None);
        };
        let id: ImageRef = image.digest.to_string().parse()?;
        let there = self.runtime.store()?.get(&id)?.is_some();
        Ok((!there).then(|| needed(image)))
    }
}

/// Reads what [`Snapshot::export`] wrote, under the name it had or another one. Whatever fails, there is all of the
/// snapshot or nothing.
pub(crate) fn import(
    runtime: &Runtime,
    from: &mut impl Read,
    name: Option<&str>,
) -> Result<Snapshot, Error> {
    let shelf = runtime.state().snapshots();
    let arriving = Arriving::new(from).map_err(SavedError::from)?;
    check_facts(arriving.manifest())?;
    let name = name.unwrap_or(&arriving.manifest().name).to_owned();
    check_name(&name)?;
    let target = shelf.path(&name);
    if target.exists() {
        return Err(SavedError::NameTaken(name).into());
    }
    shelf.sweep()?;
    let staging = Staging::create(shelf.dir())?;
    arriving.unpack(&staging, &name)?;
    if !staging.publish(&target)? {
        return Err(SavedError::NameTaken(name).into());
    }
    Snapshot::open(runtime, &name)
}

/// Fetches what [`Snapshot::push`] put into a registry.
pub(crate) fn pull(
    runtime: &Runtime,
    from: &RegistryRef,
    name: Option<&str>,
    cancel: &Cancel,
) -> Result<Snapshot, Error> {
    let options = RegistryOptions::from_environment();
    Artifacts::new(from, &options, cancel).pull(KIND, |mut blob| import(runtime, &mut blob, name))
}

/// A file that goes with its descriptor.
fn unnamed(dir: &Path) -> Result<File, SavedError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|errno| SavedError::File {
            step: "make a file in",
            path: dir.to_owned(),
            source: errno.into(),
        })
}

/// What the library remembers of the VM has to fit the machine.
fn check_facts(manifest: &Manifest) -> Result<(), SavedError> {
    let facts = serde_json::from_value(manifest.workload[FACTS].clone());
    let fits = facts.is_ok_and(|facts: Facts| {
        facts.config.memory.shape_mib() == manifest.memory_mib
            && facts.config.cpus == manifest.vcpus
    });
    match &manifest.image {
        _ if !fits => Err(saved::ArchiveError::Facts { what: "workload" }.into()),
        None => Err(saved::ArchiveError::Facts { what: "image" }.into()),
        Some(_) => Ok(()),
    }
}

/// What a start needs and does not have. A registry is asked for exactly this image: its tag may be another one's by
/// now.
pub(super) fn needed(image: &Image) -> Error {
    let digest = image.digest.to_string();
    let pull = match image.reference.parse() {
        Ok(ImageRef::Registry(name)) => {
            format!("{}/{}@{digest}", name.domain(), name.repository())
        }
        _ => image.reference.clone(),
    };
    Error::ImageNeeded {
        reference: image.reference.clone(),
        digest,
        pull,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_asked_for_the_image_and_not_for_its_tag() {
        let digest = ::snapshot::Digest::of(b"image");
        let hint = |reference: &str| {
            let reference = reference.to_owned();
            needed(&Image { reference, digest }).hint().unwrap()
        };
        assert_eq!(
            hint("alpine:3.20"),
            format!("`supermachine pull docker.io/library/alpine@{digest}` brings it")
        );
        assert_eq!(
            hint("oci:/images/alpine"),
            "`supermachine pull oci:/images/alpine` brings it"
        );
    }
}
