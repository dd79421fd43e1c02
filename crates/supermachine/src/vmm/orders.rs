//! What a VMM is told beyond its disks: boot, restore, pause, save.

use super::{VmmError, VmmProcess};
use crate::assets::Assets;
use crate::deadline::Deadline;
use crate::network::Wiring;
use proto::control::{Boot, Command, Contents, Event, KernelFlavor, Restore, VERSION};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The files of a saved VM, open.
#[derive(Debug)]
pub(crate) struct SavedFiles {
    /// Everything but memory.
    pub(crate) state: File,
    /// Memory, the oldest layer first.
    pub(crate) memory: Vec<File>,
    /// The pages that an earlier life wrote first.
    pub(crate) working_set: Option<File>,
}

impl VmmProcess {
    /// Boots a kernel.
    pub(crate) fn boot(
        &mut self,
        assets: &Assets,
        memory_mib: u32,
        vcpus: u8,
        console: &File,
    ) -> Result<(), VmmError> {
        let open =
            |path: PathBuf| File::open(&path).map_err(|source| VmmError::Open { path, source });
        let mut files = Vec::new();
        for flavor in &assets.kernels {
            files.push(open(assets.kernel(*flavor))?);
        }
        files.push(open(assets.initramfs())?);
        let fds: Vec<_> = files.iter().chain([console]).map(AsFd::as_fd).collect();
        let boot = Boot {
            version: VERSION,
            vcpus,
            memory_mib,
            kernels: assets.kernels.clone(),
            extra_cmdline: String::new(),
        };
        self.send(&Command::Boot(boot), &fds)
    }

    /// Gives the VM a network.
    pub(crate) fn set_network(&mut self, wiring: &Wiring) -> Result<(), VmmError> {
        let fds: Vec<_> = wiring.sockets.iter().map(AsFd::as_fd).collect();
        self.send(&Command::SetNetwork(wiring.vmm.clone()), &fds)
    }

    /// Lets a saved VM go on.
    pub(crate) fn restore(&mut self, saved: &SavedFiles, console: &File) -> Result<(), VmmError> {
        let fds: Vec<_> = [console, &saved.state]
            .into_iter()
            .chain(&saved.memory)
            .chain(&saved.working_set)
            .map(AsFd::as_fd)
            .collect();
        let restore = Restore {
            version: VERSION,
            layers: u8::try_from(saved.memory.len()).unwrap_or(u8::MAX),
            working_set: saved.working_set.is_some(),
        };
        self.send(&Command::Restore(restore), &fds)
    }

    /// Lets the copy that a fork made go on.
    pub(crate) fn restore_fork(&mut self, console: &File) -> Result<(), VmmError> {
        let restore = Restore {
            version: VERSION,
            layers: 0,
            working_set: false,
        };
        self.send(&Command::Restore(restore), &[console.as_fd()])
    }

    /// Waits for the vCPUs to enter the guest; `None` when the deadline has passed.
    pub(crate) fn wait_running(
        &mut self,
        deadline: Deadline,
    ) -> Result<Option<KernelFlavor>, VmmError> {
        self.wait_for(deadline, |event| match event {
            Event::Running { kernel, .. } => Some(kernel),
            _ => None,
        })
    }

    /// Waits for the guest's agent to listen; `None` when the deadline has passed.
    pub(crate) fn wait_ready(&mut self, deadline: Deadline) -> Result<Option<()>, VmmError> {
        self.wait_for(deadline, |event| {
            matches!(event, Event::Ready { .. }).then_some(())
        })
    }

    /// Stops the vCPUs; `None` when the deadline has passed.
    pub(crate) fn pause(&mut self, deadline: Deadline) -> Result<Option<()>, VmmError> {
        self.send(&Command::Pause, &[])?;
        self.wait_for(deadline, |event| {
            matches!(event, Event::Paused).then_some(())
        })
    }

    /// Writes a paused VM down and gives the number of pages; `None` when the deadline has passed.
    pub(crate) fn save(
        &mut self,
        contents: Contents,
        state: &File,
        memory: &File,
        deadline: Deadline,
    ) -> Result<Option<u64>, VmmError> {
        let pagemap = self.pagemap()?;
        let fds = [state.as_fd(), memory.as_fd(), pagemap.as_fd()];
        self.send(&Command::Save(contents), &fds)?;
        match self.wait_for(deadline, |event| match event {
            Event::Saved { pages } => Some(Ok(pages)),
            Event::SaveFailed { message } => Some(Err(VmmError::NotSaved(message))),
            _ => None,
        })? {
            Some(saved) => saved.map(Some),
            None => Ok(None),
        }
    }

    /// Lists the pages that were written since the restore. Returns how many; `None` when the deadline has passed.
    pub(crate) fn list_writes(
        &mut self,
        list: &File,
        deadline: Deadline,
    ) -> Result<Option<u64>, VmmError> {
        let pagemap = self.pagemap()?;
        self.send(&Command::ListWrites, &[list.as_fd(), pagemap.as_fd()])?;
        match self.wait_for(deadline, |event| match event {
            Event::WritesListed { pages } => Some(pages.map_err(VmmError::NotSaved)),
            _ => None,
        })? {
            Some(listed) => listed.map(Some),
            None => Ok(None),
        }
    }

    /// Which pages of its memory the VMM wrote: it opens no path itself.
    pub(crate) fn pagemap(&self) -> Result<File, VmmError> {
        let path = PathBuf::from(format!("/proc/{}/pagemap", self.pid()));
        File::open(&path).map_err(|source| VmmError::Open { path, source })
    }

    fn wait_for<T>(
        &mut self,
        deadline: Deadline,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> Result<Option<T>, VmmError> {
        loop {
            match self.next_event(deadline)? {
                Some(event) => {
                    if let Some(found) = wanted(event) {
                        return Ok(Some(found));
                    }
                }
                None => return Ok(None),
            }
        }
    }
}
