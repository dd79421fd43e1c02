//! What a user writes to name an image, and the canonical form we keep.
//!
//! ```text
//! alpine                            docker.io/library/alpine:latest
//! ghcr.io/org/app:1.2@sha256:…      a registry, its repository, a tag and the digest that decides
//! oci:DIR[:TAG]  oci-layout:DIR     an OCI image layout on disk
//! oci-archive:FILE[:TAG]            the same in a tar file, gzipped or not
//! docker-archive:FILE[:REF]         what `docker save` writes
//! rootfs:DIR                        a directory that already is a root filesystem
//! sha256:… or 4bcff63911fc          an image of the store by id
//! ```
//! As in the tools that introduced these words, the path of a file ends at its first colon.
mod id;
mod registry;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use id::IdPrefix;
pub use registry::RegistryRef;

use crate::digest::Digest;

/// A parsed image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageRef {
    /// A repository of a registry.
    Registry(RegistryRef),
    /// An OCI image layout directory.
    Layout {
        /// The directory that holds `oci-layout` and `index.json`.
        dir: PathBuf,
        /// Which of its manifests.
        pick: Pick,
    },
    /// An OCI image layout in a tar file.
    LayoutArchive {
        /// The tar file, plain or compressed.
        file: PathBuf,
        /// Which of its manifests.
        pick: Pick,
    },
    /// The output of `docker save`.
    DockerArchive {
        /// The tar file, plain or compressed.
        file: PathBuf,
        /// Which of its images.
        pick: Pick,
    },
    /// A directory used as a root filesystem.
    Rootfs {
        /// The root of the tree.
        dir: PathBuf,
    },
    /// The start of the digest of an image already in the store.
    Id(IdPrefix),
}

/// Which image of a layout or an archive is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pick {
    /// The only one, else the one tagged `latest`.
    Default,
    /// The one with this tag or name.
    Name(String),
    /// The one whose manifest has this digest.
    Digest(Digest),
}

/// Why a text is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the image reference is empty")]
    Empty,
    /// Repository names are lowercase.
    #[error("invalid image reference {text:?}: the repository name {name:?} must be lowercase")]
    Uppercase {
        /// The whole text.
        text: String,
        /// The part with uppercase letters.
        name: String,
    },
    /// The registry's grammar allows 255 bytes.
    #[error(
        "invalid image reference: the repository name is {len} bytes long, the limit is {limit}"
    )]
    NameTooLong {
        /// Its length.
        len: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// What follows the name is not a tag.
    #[error(
        "invalid image reference {text:?}: {tag:?} is not a tag (letters, digits, `_`, `.`, `-`, at most 128, not starting with `.` or `-`)"
    )]
    Tag {
        /// The whole text.
        text: String,
        /// The part that should be a tag.
        tag: String,
    },
    /// What follows `@` is not a digest we can check.
    #[error(
        "invalid image reference {text:?}: {digest:?} is not a digest of the form sha256:<64 hex digits>"
    )]
    Digest {
        /// The whole text.
        text: String,
        /// The part that should be a digest.
        digest: String,
    },
    /// The text matches nothing in the grammar.
    #[error("invalid image reference {text:?}: {hint}")]
    Malformed {
        /// The whole text.
        text: String,
        /// What to look at.
        hint: &'static str,
    },
    /// `oci:` and the like without a path.
    #[error("{transport}: needs the path of a {what}")]
    NoPath {
        /// The word before the colon.
        transport: &'static str,
        /// What the path should lead to.
        what: &'static str,
    },
}

impl ImageRef {
    /// The same reference with an absolute path, so that it means the same from any directory.
    /// References that hold no path are returned unchanged.
    pub fn absolute(&self) -> std::io::Result<ImageRef> {
        let mut absolute = self.clone();
        if let Some(path) = absolute.path_mut() {
            *path = std::path::absolute(&path)?;
        }
        Ok(absolute)
    }

    /// The path of a layout, an archive or a directory.
    pub fn path(&self) -> Option<&Path> {
        match self {
            ImageRef::Layout { dir, .. } | ImageRef::Rootfs { dir } => Some(dir),
            ImageRef::LayoutArchive { file, .. } | ImageRef::DockerArchive { file, .. } => {
                Some(file)
            }
            ImageRef::Registry(_) | ImageRef::Id(_) => None,
        }
    }

    fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            ImageRef::Layout { dir, .. } | ImageRef::Rootfs { dir } => Some(dir),
            ImageRef::LayoutArchive { file, .. } | ImageRef::DockerArchive { file, .. } => {
                Some(file)
            }
            ImageRef::Registry(_) | ImageRef::Id(_) => None,
        }
    }
}

impl FromStr for ImageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some((transport, rest)) = text.split_once(':') {
            match transport {
                "oci" => return layout("oci", rest),
                "oci-layout" => return layout("oci-layout", rest),
                "oci-archive" => {
                    let (file, pick) = path_and_pick("oci-archive", "tar file", rest)?;
                    return Ok(ImageRef::LayoutArchive { file, pick });
                }
                "docker-archive" => {
                    let (file, pick) = path_and_pick("docker-archive", "tar file", rest)?;
                    return Ok(ImageRef::DockerArchive { file, pick });
                }
                "rootfs" if rest.is_empty() => {
                    return Err(ReferenceError::NoPath {
                        transport: "rootfs",
                        what: "directory",
                    });
                }
                "rootfs" => {
                    return Ok(ImageRef::Rootfs {
                        dir: PathBuf::from(rest),
                    });
                }
                _ => {}
            }
        }
        if let Some(id) = IdPrefix::exact(text) {
            return Ok(ImageRef::Id(id));
        }
        text.parse().map(ImageRef::Registry)
    }
}

fn layout(transport: &'static str, rest: &str) -> Result<ImageRef, ReferenceError> {
    let (dir, pick) = path_and_pick(transport, "directory", rest)?;
    Ok(ImageRef::Layout { dir, pick })
}

fn path_and_pick(
    transport: &'static str,
    what: &'static str,
    rest: &str,
) -> Result<(PathBuf, Pick), ReferenceError> {
    let (path, pick) = match rest.split_once("@sha256:") {
        Some((path, hex)) => {
            let digest = format!("sha256:{hex}");
            let parsed = Digest::parse(&digest).map_err(|_| ReferenceError::Digest {
                text: format!("{transport}:{rest}"),
                digest,
            })?;
            (path, Pick::Digest(parsed))
        }
        None => match rest.split_once(':') {
            Some((path, "")) => (path, Pick::Default),
            Some((path, name)) => (path, Pick::Name(name.to_owned())),
            None => (rest, Pick::Default),
        },
    };
    if path.is_empty() {
        return Err(ReferenceError::NoPath { transport, what });
    }
    Ok((PathBuf::from(path), pick))
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pick::Default => Ok(()),
            Pick::Name(name) => write!(f, ":{name}"),
            Pick::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageRef::Registry(reference) => write!(f, "{reference}"),
            ImageRef::Layout { dir, pick } => write!(f, "oci:{}{pick}", dir.display()),
            ImageRef::LayoutArchive { file, pick } => {
                write!(f, "oci-archive:{}{pick}", file.display())
            }
            ImageRef::DockerArchive { file, pick } => {
                write!(f, "docker-archive:{}{pick}", file.display())
            }
            ImageRef::Rootfs { dir } => write!(f, "rootfs:{}", dir.display()),
            ImageRef::Id(id) => write!(f, "{id}"),
        }
    }
}

#[cfg(test)]
mod tests;
