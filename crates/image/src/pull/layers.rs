//! Bringing the layers of an image into the store, several at a time.
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{FirstFailure, Pull, PullError};
use crate::blob::{BlobError, LayerStream};
use crate::cancel::Patience;
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::layer::{Layer, LayerError};
use crate::manifest::{Descriptor, Manifest};
use crate::source::Source;
use crate::store::StoreError;

/// More connections than this help nobody.
const PARALLEL_LIMIT: usize = 16;

/// A layer to bring: its blob, and what must come out of it.
struct Job {
    descriptor: Descriptor,
    diff_id: Digest,
}

/// The diff_ids without repetitions, in order.
pub(super) fn unique(config: &ImageConfig) -> Vec<Digest> {
    let mut seen = std::collections::BTreeSet::new();
    config
        .diff_ids
        .iter()
        .filter(|diff_id| seen.insert(**diff_id))
        .copied()
        .collect()
}

impl Pull<'_> {
    /// The layers of an image, bottom first, all of them in the store.
    pub(super) fn bring_layers(
        &self,
        source: &dyn Source,
        manifest: &Manifest,
        config: &ImageConfig,
        work: &Patience,
    ) -> Result<Vec<Layer>, PullError> {
        let mut jobs = VecDeque::new();
        for diff_id in unique(config) {
            let at = config.diff_ids.iter().position(|other| *other == diff_id);
            let Some(descriptor) = at.and_then(|at| manifest.layers.get(at)) else {
                continue;
            };
            match self.store.layers.get(&diff_id) {
                Ok(Some(_)) => self.progress.present(&descriptor.digest),
                // What is damaged is replaced by the import.
                Ok(None) | Err(LayerError::Damaged { .. }) => {
                    jobs.push_back(Job {
                        descriptor: descriptor.clone(),
                        diff_id,
                    });
                }
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
        self.work_off(source, jobs, work)?;
        config
            .diff_ids
            .iter()
            .map(|diff_id| self.stored(diff_id))
            .collect()
    }

    fn stored(&self, diff_id: &Digest) -> Result<Layer, PullError> {
        let layer = self.store.layers.get(diff_id).map_err(StoreError::from)?;
        layer.ok_or_else(|| self.not_here())
    }

    fn work_off(
        &self,
        source: &dyn Source,
        jobs: VecDeque<Job>,
        work: &Patience,
    ) -> Result<(), PullError> {
        let workers = self
            .options
            .parallel
            .clamp(1, PARALLEL_LIMIT)
            .min(jobs.len());
        let jobs = Mutex::new(jobs);
        let first_failure = FirstFailure::default();
        let error = Mutex::new(None);
        let next = || {
            jobs.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        };
        let worker = || {
            while let Some(job) = next() {
                if let Err(failure) = self.bring(source, &job, work) {
                    if first_failure.claim() {
                        *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                        // The others are of no use any more.
                        work.cancel.cancel();
                    }
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for number in 1..workers {
                let builder = thread::Builder::new().name(format!("layer-{number}"));
                // With fewer threads it takes longer, that is all.
                if builder.spawn_scoped(scope, worker).is_err() {
                    break;
                }
            }
            worker();
        });
        match error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// One layer. If a mirror sent damaged bytes, the next place is asked.
    fn bring(&self, source: &dyn Source, job: &Job, work: &Patience) -> Result<(), PullError> {
        loop {
            work.check()?;
            match self.bring_once(source, job, work) {
                Err(PullError::Blob { source: error, .. })
                    if is_damage(&error) && source.distrust() =>
                {
                    tracing::warn!(%error, "the mirror delivered a damaged layer");
                }
                result => return result,
            }
        }
    }

    fn bring_once(&self, source: &dyn Source, job: &Job, work: &Patience) -> Result<(), PullError> {
        let digest = job.descriptor.digest;
        let blob = source
            .blob(&job.descriptor)
            .map_err(|error| PullError::source(self.reference, error))?;
        self.progress.layer(&digest, job.descriptor.size);
        let advance = |bytes| self.progress.advance(&digest, bytes);
        let limits = &self.options.limits;
        let mut stream = LayerStream::open(
            blob,
            &job.descriptor,
            limits.max_stream_bytes,
            work,
            advance,
        )
        .map_err(|error| PullError::blob(self.reference, error))?;
        let imported = self.store.layers.import(&job.diff_id, &mut stream, limits);
        match (imported, stream.fault()) {
            (Ok(_), _) => {
                self.progress.done(&digest);
                Ok(())
            }
            (Err(_), Some(fault)) => Err(PullError::blob(self.reference, fault)),
            (Err(source), None) => {
                work.check()?;
                Err(PullError::Layer {
                    reference: self.reference.to_string(),
                    layer: digest,
                    source: Box::new(source),
                })
            }
        }
    }
}

fn is_damage(error: &BlobError) -> bool {
    match error {
        BlobError::Digest { .. } | BlobError::Size { .. } | BlobError::Decompress { .. } => true,
        BlobError::Fetch { .. }
        | BlobError::Read { .. }
        | BlobError::TooLarge { .. }
        | BlobError::Refused { .. }
        | BlobError::Interrupted(_) => false,
    }
}
