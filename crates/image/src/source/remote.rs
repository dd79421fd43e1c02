//! A registry as a source.
use super::{Source, SourceError};
use crate::blob::{self, BlobReader, Identity};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, Fetched};
use crate::registry::{RawDocument, Registry};

fn parse(raw: RawDocument) -> Result<Fetched, SourceError> {
    let document = Document::parse(&raw.bytes, raw.media_type.as_deref())?;
    Ok(Fetched {
        digest: raw.digest,
        bytes: raw.bytes,
        document,
    })
}

impl Source for Registry {
    fn peek(&self) -> Result<Option<Digest>, SourceError> {
        Ok(self.digest()?)
    }

    fn root(&self) -> Result<Fetched, SourceError> {
        parse(self.root_document()?)
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched, SourceError> {
        parse(Registry::document(self, descriptor)?)
    }

    fn small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError> {
        let bytes = Registry::small_blob(self, descriptor, limit)?;
        Ok(blob::check(bytes, descriptor)?)
    }

    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<BlobReader<'a>, SourceError> {
        Ok(BlobReader {
            stream: Box::new(Registry::blob(self, descriptor)),
            identity: Identity::Blob,
        })
    }

    fn distrust(&self) -> bool {
        self.leave_endpoint()
    }
}
