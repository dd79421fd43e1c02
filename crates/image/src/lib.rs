//! Image references, registries, layers and read-only root filesystems, and the store that keeps them.
#![forbid(unsafe_code)]

mod artifact;
pub mod digest;
mod erofs;
pub mod fsutil;
pub mod layer;
pub mod root;
mod rootfs_dir;
mod sparse;
mod tree;

mod blob;
mod cancel;
mod config;
mod credentials;
mod decompress;
mod manifest;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod source;
mod store;

pub use artifact::{ArtifactError, ArtifactKind, Artifacts};
pub use blob::BlobError;
pub use cancel::{Cancel, Interrupted};
pub use config::{ConfigError, HealthTest, Healthcheck, ImageConfig};
pub use credentials::{CredentialError, CredentialFile, Credentials, HelperError};
pub use decompress::DecompressError;
pub use digest::Digest;
pub use layer::Limits;
pub use manifest::ManifestError;
pub use platform::{Platform, PlatformError};
pub use progress::{NoProgress, Progress};
pub use pull::{PullError, PullOptions, PullPolicy};
pub use reference::{IdPrefix, ImageRef, Pick, ReferenceError, RegistryRef};
pub use registry::{
    Mirror, ProxyError, ProxySettings, RegistryError, RegistryOptions, RetryPolicy, RootsError,
};
pub use root::{Piece, RootImage};
pub use source::{DockerArchiveError, FilesError, LayoutError, SourceError, TarballError};
pub use store::{
    Corruption, Damage, ImageSummary, PruneScope, Reclaimed, Removed, Store, StoreError,
    StoredImage, Usage,
};
