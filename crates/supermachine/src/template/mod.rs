//! A VM that was saved before it saw any image: kernel up, agent waiting, disk slots empty. Starting an image means
//! restoring one and putting the image's disks into the slots, so no kernel is booted for it.
//!
//! There is one for each *shape* of machine; the first start of a shape makes it. Templates are a cache: anything that
//! is wrong with one is a reason to make it again.

mod care;
mod maker;
mod notice;
mod shape;

pub use care::SavedUsage;
pub(crate) use care::{prune, usage};
pub use notice::Notice;
pub(crate) use notice::Notices;
pub(crate) use shape::Shape;

use crate::assets::Assets;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::home::Home;
use crate::saved::{MANIFEST, Saved, ShelfLock};
use crate::vmm::{SavedFiles, VmmError};
use proto::control::Step;
use std::fs::File;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

/// How often a template's last use is noted.
const NOTE_USE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a start waits for another process that makes a template, before it does without.
const PATIENCE: Duration = Duration::from_secs(20);

/// A template with its files open: nobody can take it away any more.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) saved: Saved,
    pub(crate) files: SavedFiles,
}

/// Everything it takes to find a template or make one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Templates<'a> {
    pub(crate) home: &'a Home,
    pub(crate) assets: &'a Assets,
    pub(crate) notices: &'a Notices,
}

/// How a template was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was there.
    There,
    /// It was made, here or by another process meanwhile.
    Made,
}

impl Templates<'_> {
    /// The template of a shape, made first if there is none that can be used.
    pub(crate) fn obtain(
        &self,
        shape: &Shape,
        deadline: Deadline,
    ) -> Result<(Template, Found), Error> {
        if let Some(template) = self.find(shape) {
            return Ok((template, Found::There));
        }
        let lock = self.lock(deadline.min(Deadline::after(PATIENCE)))?;
        if let Some(template) = self.find(shape) {
            return Ok((template, Found::Made));
        }
        maker::make(self, shape, &lock, deadline)?;
        let saved = Saved::open(&self.home.templates().path(shape.key()))?;
        let files = saved.files(self.home)?;
        Ok((Template { saved, files }, Found::Made))
    }

    /// The template of a shape, if it is there and looks whole.
    fn find(&self, shape: &Shape) -> Option<Template> {
        let path = self.home.templates().path(shape.key());
        let opened = Saved::open(&path).and_then(|saved| {
            let files = saved.files(self.home)?;
            Ok(Template { saved, files })
        });
        match opened {
            Ok(template) => {
                template.note_use();
                Some(template)
            }
            Err(error) => {
                if !error.is_gone() {
                    tracing::warn!(%error, "a template cannot be used and is made again");
                }
                None
            }
        }
    }

    /// Waits for whoever makes a template, until the deadline: the kernel's locks know none, so a thread waits.
    fn lock(&self, deadline: Deadline) -> Result<ShelfLock, Error> {
        let (sender, receiver) = mpsc::channel();
        let shelf = self.home.templates();
        std::thread::Builder::new()
            .name("template lock".into())
            .spawn(move || sender.send(shelf.lock()))
            .map_err(Error::Thread)?;
        let received = match deadline.remaining() {
            Some(left) => receiver.recv_timeout(left).ok(),
            None => receiver.recv().ok(),
        };
        let late = Error::Deadline {
            waiting_for: "the maker of a template",
            limit: Duration::ZERO,
        };
        Ok(received.ok_or(late)??)
    }

    /// Takes a template away that a VM could not be restored from, unless somebody has made it again already.
    pub(crate) fn set_aside(&self, template: &Template, deadline: Deadline) -> Result<(), Error> {
        let shelf = self.home.templates();
        let _lock = self.lock(deadline)?;
        let name = template.saved.name();
        match Saved::open(&shelf.path(&name)) {
            Ok(there) if there.digest != template.saved.digest => Ok(()),
            _ => Ok(care::retire(self.home, &name)?),
        }
    }
}

impl Template {
    /// Whether making the template again may help a start that failed like this.
    pub(crate) fn is_to_blame(&self, error: &Error) -> bool {
        match error {
            Error::Vmm(VmmError::Failed {
                step: Step::Restore,
                ..
            }) => true,
            // The rest of memory is not looked at before a restore; a VM that came up broken is a reason to.
            Error::Vmm(_) | Error::Session(_) | Error::Deadline { .. } => {
                self.saved.verify_memory().is_err()
            }
            _ => false,
        }
    }

    /// Notes that somebody uses it, for whoever looks for templates that nobody uses. Best effort.
    fn note_use(&self) {
        let Ok(file) = File::open(self.saved.dir.join(MANIFEST)) else {
            return;
        };
        let now = SystemTime::now();
        let noted = file.metadata().and_then(|metadata| metadata.modified());
        if noted.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > NOTE_USE))
            && let Err(error) = file.set_modified(now)
        {
            tracing::debug!(%error, "the use of a template is not noted");
        }
    }
}
