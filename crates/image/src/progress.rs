//! Telling people how far a pull is.
use std::time::Duration;

use crate::digest::Digest;

/// Is told what a pull does. Called from several threads, between reads: it should return quickly.
///
/// Layers are named by the digest of their blob, which is what registries and other tools show.
pub trait Progress: Send + Sync {
    /// The image is known; this many different layers belong to it.
    fn image(&self, _manifest: &Digest, _layers: usize) {}

    /// A layer is in the store already.
    fn present(&self, _layer: &Digest) {}

    /// A layer of `total` bytes begins to arrive. Said again if it has to begin anew.
    fn layer(&self, _layer: &Digest, _total: u64) {}

    /// Further bytes of a layer have come.
    fn advance(&self, _layer: &Digest, _bytes: u64) {}

    /// A layer is complete, checked and stored.
    fn done(&self, _layer: &Digest) {}

    /// All layers are there; the root file system was composed in this time.
    fn composed(&self, _time: Duration) {}
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
