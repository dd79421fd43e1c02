//! Getting an image by the words of a command line.

use super::process::refuse;
use crate::args::Refusal;
use crate::output::progress::{self, Telling};
use crate::signals::Relay;
use supermachine::images::{Cancel, ImageRef, Platform, PullError, PullOptions, PullPolicy};
use supermachine::{Image, Runtime};

/// Which image, and how to get it.
#[derive(Debug)]
pub struct Wanted {
    /// As it was written.
    pub text: String,
    /// What it means.
    pub reference: ImageRef,
    /// For another machine than this one.
    pub platform: Option<Platform>,
    /// When a registry is asked.
    pub policy: PullPolicy,
    /// How much is told of a pull.
    pub telling: Telling,
}

impl Wanted {
    /// Understands a reference and a platform.
    pub fn resolve(text: &str, platform: Option<&str>, policy: PullPolicy) -> anyhow::Result<Self> {
        let reference = reference(text)?;
        let platform = platform
            .map(|text| {
                text.parse()
                    .map_err(|error| refuse("--platform", text, error))
            })
            .transpose()?;
        let telling = if matches!(reference, ImageRef::Registry(_)) {
            Telling::Everything
        } else {
            Telling::Bars
        };
        Ok(Self {
            text: text.to_owned(),
            reference,
            platform,
            policy,
            telling,
        })
    }
}

/// Understands a reference.
pub fn reference(text: &str) -> Result<ImageRef, Refusal> {
    text.parse()
        .map_err(|error: supermachine::images::ReferenceError| Refusal {
            message: error.to_string(),
            hint: None,
        })
}

/// The image, fetched if need be. `None` if a signal came first.
pub fn obtain(runtime: &Runtime, wanted: &Wanted, relay: &Relay) -> anyhow::Result<Option<Image>> {
    let cancel = Cancel::new();
    relay.cancels(&cancel);
    let options = PullOptions {
        policy: wanted.policy,
        platform: wanted.platform.clone(),
        cancel: cancel.clone(),
        ..PullOptions::default()
    };
    let store = runtime.store()?;
    let progress = progress::of_pull(&wanted.text, wanted.telling);
    match store.pull(&wanted.reference, &options, &*progress) {
        Ok(stored) => Ok(Some(runtime.image(stored, &wanted.text))),
        Err(PullError::Interrupted(_)) if cancel.is_cancelled() => Ok(None),
        Err(error) => Err(supermachine::Error::from(error).into()),
    }
}
