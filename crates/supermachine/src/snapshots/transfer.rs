//! Snapshots on their way to other hosts and back.

use super::{Snapshot, check_name};
use crate::error::Error;
use crate::runtime::Runtime;
use crate::saved::{self, Arriving, SavedError, Staging};
use crate::supervisor::{FACTS, Facts};
use ::snapshot::manifest::{Image, Manifest};
use image::ImageRef;
use std::io::{Read, Write};

impl Snapshot {
    /// Writes it as one file that needs no other snapshot and no template, and verifies it on the way. The image is
    /// not in it. What was written before an error is of no use.
    pub fn export(&self, to: &mut impl Write) -> Result<(), Error> {
        Ok(saved::send(&self.saved, self.runtime.state(), to)?)
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
