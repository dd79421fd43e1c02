//! Which pages a VM writes first after a restore: found out once, made ready at one go from then on.
//!
//! It is a hint. Whatever is wrong with it, a restore without it is only slower.

use crate::deadline::Deadline;
use crate::home::random_hex;
use crate::vmm::VmmProcess;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "working-set";

/// How long the VMM gets to make the list.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most pages worth making ready before anybody asked for them: 16 MiB, some 5 ms.
const MAX_PAGES: u64 = 4096;

/// The list of a saved VM, if there is one.
pub(super) fn open(dir: &Path) -> Option<File> {
    File::open(dir.join(NAME)).ok()
}

/// The list that a restore did without, to be made by the VM that was restored.
#[derive(Debug)]
pub(crate) struct WorkingSet {
    path: PathBuf,
}

impl WorkingSet {
    /// For the saved VM in `dir`.
    pub(crate) fn of(dir: &Path) -> Self {
        Self {
            path: dir.join(NAME),
        }
    }

    /// Asks the VMM for the list and publishes it. A VM that wrote much more than a start does is no example.
    pub(crate) fn record(self, vmm: &mut VmmProcess) {
        let staged = self
            .path
            .with_file_name(format!(".{NAME}.{}", random_hex(8)));
        let options = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .clone();
        let Ok(list) = options.open(&staged) else {
            return;
        };
        let listed = vmm.list_writes(&list, Deadline::after(PATIENCE));
        let published = match listed {
            Ok(Some(pages)) if pages <= MAX_PAGES => fs::rename(&staged, &self.path),
            _ => fs::remove_file(&staged),
        };
        if let Err(error) = published {
            tracing::debug!(%error, path = %self.path.display(), "a list of pages was not kept");
        }
    }
}
