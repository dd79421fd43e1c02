//! Where state is kept and programs are found.

use crate::error::Error;
use crate::handle::Image;
use crate::record::VmSummary;
use crate::vm::Vm;
use std::path::{Path, PathBuf};

/// Where state is kept (images, VMs) and programs are found (`supermachine-vmm`, guest kernels). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {}

/// Builds a [`Runtime`] with paths of its own.
#[derive(Debug, Clone, Default)]
pub struct RuntimeBuilder {
    home: Option<PathBuf>,
    libexec: Option<PathBuf>,
}

impl RuntimeBuilder {
    /// The state directory instead of `$SUPERMACHINE_HOME`. Made where missing, of any length.
    pub fn home(mut self, dir: impl Into<PathBuf>) -> Self {
        self.home = Some(dir.into());
        self
    }

    /// The directory of `supermachine-vmm`, kernels and initramfs, instead of the usual search.
    pub fn libexec(mut self, dir: impl Into<PathBuf>) -> Self {
        self.libexec = Some(dir.into());
        self
    }

    /// Opens the state directory. Programs are looked for when the first VM starts.
    pub fn build(self) -> Result<Runtime, Error> {
        Ok(Runtime {})
    }
}

impl Runtime {
    /// From the environment: `$SUPERMACHINE_HOME`, else `$XDG_DATA_HOME/supermachine`, else
    /// `~/.local/share/supermachine`.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// With paths of its own.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// The state directory.
    pub fn home(&self) -> &Path {
        Path::new("")
    }

    /// The image of this name (anything [`crate::images`] can parse), fetched if it is not in the store. For progress, policies
    /// and registries with options of their own use [`crate::images`] and [`Self::image`].
    pub fn pull(&self, reference: &str) -> Result<Image, Error> {
        Err(Error::NoSuchVm(reference.to_owned()))
    }

    /// All VMs with a record, running or not, oldest first. VMs that ended by the death of their process are
    /// settled on the way: shown as crashed, or swept if they were to be removed.
    pub fn vms(&self) -> Result<Vec<VmSummary>, Error> {
        Ok(Vec::new())
    }

    /// The record of one VM, by name, id or unambiguous start of an id.
    pub fn vm_summary(&self, name: &str) -> Result<VmSummary, Error> {
        Err(Error::NoSuchVm(name.to_owned()))
    }

    /// A running VM of this or another process, by name, id or unambiguous start of an id. Dropping the handle leaves the VM alone.
    pub fn open_vm(&self, name: &str) -> Result<Vm, Error> {
        Err(Error::NoSuchVm(name.to_owned()))
    }

    /// Waits for the workload of a VM of any process and gives its exit; at once if it has ended already.
    pub fn wait_vm(
        &self,
        name: &str,
        _deadline: impl Into<crate::Deadline>,
    ) -> Result<crate::Exit, Error> {
        Err(Error::NoSuchVm(name.to_owned()))
    }

    /// Removes the record, log and disk of a VM that has ended; a running one is an error.
    pub fn remove_vm(&self, name: &str) -> Result<(), Error> {
        Err(Error::NoSuchVm(name.to_owned()))
    }

    /// Ends a running VM first, then removes it.
    pub fn kill_and_remove_vm(&self, name: &str) -> Result<(), Error> {
        Err(Error::NoSuchVm(name.to_owned()))
    }

    /// The log of a VM, running or not.
    pub fn logs(&self, name: &str) -> Result<crate::log::LogReader, Error> {
        Err(Error::NoSuchVm(name.to_owned()))
    }

    /// What this host can do and what it lacks, check by check.
    pub fn doctor(&self) -> Vec<crate::doctor::Check> {
        Vec::new()
    }

    /// Copies the programs and kernels that were found into the state directory, verified by digest, so that
    /// programs that embed the library find them.
    pub fn setup(&self) -> Result<crate::SetupReport, Error> {
        Err(Error::NoSuchVm(String::new()))
    }
}
