//! Pulling from a registry that behaves, and from one that does not.
mod login;
mod places;
mod pulls;
#[path = "../support/mod.rs"]
mod support;
mod transfer;

use image::{BlobError, PullError, RegistryError, SourceError};
use support::image::TestImage;
use support::peer::Peer;
use support::shelf::Shelf;
use support::tools::explain;

/// A peer that serves one image as it should.
fn good_peer(image: &TestImage) -> Peer {
    let shelf = Shelf::of(image);
    Peer::start(move |request| shelf.answer(request))
}

fn source_error(error: PullError) -> SourceError {
    match error {
        PullError::Source { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}

fn registry_error(error: PullError) -> RegistryError {
    match source_error(error) {
        SourceError::Registry(error) => error,
        other => panic!("{}", explain(&other)),
    }
}

fn blob_error(error: PullError) -> BlobError {
    match error {
        PullError::Blob { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}

fn fetch_error(error: PullError) -> RegistryError {
    match blob_error(error) {
        BlobError::Fetch { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}
