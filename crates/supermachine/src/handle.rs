//! An image in the store, ready to start.

use crate::config::VmConfig;
use crate::error::Error;
use crate::runtime::Runtime;
use crate::vm::Vm;

/// An image in the store, ready to start any number of times. While it is alive the store keeps it.
#[derive(Debug, Clone)]
pub struct Image {
    pub(crate) runtime: Runtime,
}

impl Image {
    /// The image of this name, fetched if it is not in the store of [`Runtime::new`].
    pub fn pull(reference: &str) -> Result<Self, Error> {
        Runtime::new()?.pull(reference)
    }

    /// Starts a VM of this image and returns when its workload runs, or when it is ready for
    /// [`Vm::exec`] if it has none.
    pub fn start(&self, _config: &VmConfig) -> Result<Vm, Error> {
        Err(Error::NoSuchVm(format!("{:?}", self.runtime)))
    }
}
