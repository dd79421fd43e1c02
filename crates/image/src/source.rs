//! Where images come from: registries, layouts and archives, all seen as documents and blobs.
mod docker_archive;
mod files;
mod layout;
mod remote;
mod tarball;

use std::path::Path;

pub use docker_archive::DockerArchiveError;
pub use files::FilesError;
pub use layout::LayoutError;
pub use tarball::TarballError;

use crate::blob::{BlobError, BlobReader};
use crate::cancel::Patience;
use crate::config::{ConfigError, ImageConfig};
use crate::digest::Digest;
use crate::manifest::{
    CONFIG_LIMIT, Descriptor, Documents, Fetched, ManifestError, Selected, select,
};
use crate::platform::Platform;
use crate::reference::ImageRef;
use crate::registry::{Registry, RegistryError, RegistryOptions};
use docker_archive::DockerArchive;
use files::Directory;
use layout::Layout;
use tarball::Tarball;

/// An image that could not be read where it is.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A registry failed us.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layout is not one, or has no such image.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An archive of `docker save` is not one, or has no such image.
    #[error(transparent)]
    DockerArchive(#[from] DockerArchiveError),
    /// A tar file cannot be used.
    #[error(transparent)]
    Tarball(#[from] TarballError),
    /// A file of a layout or an archive cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A blob did not arrive as it should.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// A place that holds one image, or one image for each of several platforms.
pub(crate) trait Source: Sync {
    /// The digest of the document everything starts from, if it can be had for less than the document.
    fn peek(&self) -> Result<Option<Digest>, SourceError> {
        Ok(None)
    }

    /// The document everything starts from.
    fn root(&self) -> Result<Fetched, SourceError>;

    /// A manifest or index, checked.
    fn document(&self, descriptor: &Descriptor) -> Result<Fetched, SourceError>;

    /// A blob of at most `limit` bytes, checked.
    fn small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError>;

    /// A blob as a stream, not checked yet.
    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<BlobReader<'a>, SourceError>;

    /// Called when what came was damaged. `true`: there is another place to get it from.
    fn distrust(&self) -> bool {
        false
    }
}

/// Opens what a reference leads to. `home` is where a compressed archive may be unpacked for a while.
pub(crate) fn open(
    reference: &ImageRef,
    registry: &RegistryOptions,
    patience: &Patience,
    home: &Path,
) -> Result<Option<Box<dyn Source>>, SourceError> {
    Ok(Some(match reference {
        ImageRef::Registry(reference) => Box::new(Registry::new(reference, registry, patience)?),
        ImageRef::Layout { dir, pick } => Box::new(Layout::new(Directory::new(dir), pick.clone())?),
        ImageRef::LayoutArchive { file, pick } => Box::new(Layout::new(
            Tarball::open(file, home, patience)?,
            pick.clone(),
        )?),
        ImageRef::DockerArchive { file, pick } => Box::new(DockerArchive::new(
            Tarball::open(file, home, patience)?,
            pick,
        )?),
        ImageRef::Rootfs { .. } | ImageRef::Id(_) => return Ok(None),
    }))
}

/// Follows the source's documents to the image for a platform. Also returns the digest it started from.
pub(crate) fn resolve(
    source: &dyn Source,
    wanted: &Platform,
) -> Result<(Digest, Selected), SourceError> {
    let root = source.root()?;
    let digest = root.digest;
    Ok((digest, select(root, wanted, &mut Reader(source))?))
}

struct Reader<'a>(&'a dyn Source);

impl Documents for Reader<'_> {
    type Error = SourceError;

    fn document(&mut self, descriptor: &Descriptor) -> Result<Fetched, SourceError> {
        self.0.document(descriptor)
    }

    fn config_platform(&mut self, config: &Descriptor) -> Result<Option<Platform>, SourceError> {
        let bytes = self.0.small_blob(config, CONFIG_LIMIT)?;
        Ok(ImageConfig::parse(&bytes)?.platform())
    }
}
