//! Image references, registries, layers and read-only root filesystems, and the store that keeps them.
#![forbid(unsafe_code)]

pub mod digest;
pub mod fsutil;
pub mod layer;
pub mod root;
mod rootfs_dir;
mod sparse;
mod tree;
mod erofs;
