//! Where state is kept and programs are found.

use crate::assets::{self, Assets};
use crate::config::VmConfig;
use crate::deadline::Deadline;
use crate::doctor;
use crate::error::{Error, RecordError};
use crate::handle::Image;
use crate::home::Home;
use crate::liveness::Liveness;
use crate::log::LogReader;
use crate::names;
use crate::network::{NetworkInfo, NetworkUpdate, Networks};
use crate::record::{Registry, State, VmDetails, VmStatus, VmSummary};
use crate::setup::{self, SetupReport};
use crate::snapshots::{self, Snapshot, SnapshotInfo};
use crate::storage::{VolumeInfo, Volumes};
use crate::supervisor::{
    self, BootImage, Client, ClientError, Estate, Launch, Plan, Source, Tenure,
};
use crate::template::{self, Found, Notice, Notices, SavedUsage, Shape, Templates};
use crate::vm::Vm;
use image::{Cancel, ImageRef, RegistryRef, Store, StoredImage};
use proto::session::Exit;
use proto::supervisor::{Reply, RequestBody};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the supervisor of a VM gets to answer what it answers at once.
const ANSWER: Duration = Duration::from_secs(30);

/// Where state is kept (images, VMs) and programs are found (`supermachine-vmm`, guest kernels). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: Home,
    libexec: Option<PathBuf>,
    assets: OnceLock<Assets>,
    notices: Notices,
    tenure: Tenure,
}

/// Builds a [`Runtime`] with paths of its own.
#[derive(Debug, Clone, Default)]
pub struct RuntimeBuilder {
    home: Option<PathBuf>,
    libexec: Option<PathBuf>,
    notices: Notices,
    tenure: Tenure,
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

    /// Who is told what a person may want to know while a VM starts: that a template is made, for example.
    pub fn notices(mut self, tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.notices = Notices::new(tell);
        self
    }

    /// Of a process that is there for one VM, over all its lives.
    pub(crate) const fn tenure(mut self, tenure: Tenure) -> Self {
        self.tenure = tenure;
        self
    }

    /// Opens the state directory. Programs are looked for when the first VM starts.
    pub fn build(self) -> Result<Runtime, Error> {
        let dir = self.home.map_or_else(Home::from_environment, Ok)?;
        let home = Home::open(&dir)?;
        if let Err(error) = Registry::new(&home).sweep() {
            tracing::warn!(%error, "what a killed process left of its VMs stays for now");
        }
        Ok(Runtime {
            inner: Arc::new(Inner {
                home,
                libexec: self.libexec,
                assets: OnceLock::new(),
                notices: self.notices,
                tenure: self.tenure,
            }),
        })
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
        self.inner.home.dir()
    }

    /// The state directory, checked.
    pub(crate) fn state(&self) -> &Home {
        &self.inner.home
    }

    /// The programs and kernels VMs are made of.
    pub(crate) fn programs(&self) -> Result<&Assets, Error> {
        self.assets()
    }

    pub(crate) fn libexec(&self) -> Option<&Path> {
        self.inner.libexec.as_deref()
    }

    fn registry(&self) -> Registry {
        Registry::new(&self.inner.home)
    }

    fn assets(&self) -> Result<&Assets, Error> {
        if let Some(assets) = self.inner.assets.get() {
            return Ok(assets);
        }
        let found = assets::find(self.libexec(), &self.inner.home)?;
        Ok(self.inner.assets.get_or_init(|| found))
    }

    /// The image store, for progress, policies and registries with options of their own.
    pub fn store(&self) -> Result<Store, Error> {
        Ok(Store::open(self.home())?)
    }

    /// An image of [`Self::store`], ready to start; `reference` is what its VMs' records show.
    pub fn image(&self, stored: StoredImage, reference: &str) -> Image {
        Image::new(self, reference, stored)
    }

    pub(crate) fn start(&self, image: BootImage, config: &VmConfig) -> Result<Vm, Error> {
        let plan = Plan::new(&self.inner.home, &image, config)?;
        self.launch(image, plan, Source::Image)
    }

    /// Starts a VM that has ended, or was created, under its name, with its disk.
    pub(crate) fn start_again(&self, name: &str, attachment: Option<OwnedFd>) -> Result<Vm, Error> {
        let entry = self.registry().reopen(name)?;
        let image = self.boot_image(&entry.record.image, &entry.record.image_digest)?;
        let plan = Plan::again(&self.inner.home, &image, &entry.record)?;
        self.launch_attached(image, plan, Source::Reopened(Box::new(entry)), attachment)
    }

    /// Another life of a VM, by its restart policy.
    pub(crate) fn revive(&self, estate: Box<Estate>) -> Result<Vm, Error> {
        let last = estate.record();
        let image = self.boot_image(&last.image, &last.image_digest)?;
        let mut plan = Plan::again(&self.inner.home, &image, last)?;
        plan.record.restarts = last.restarts + 1;
        self.launch(image, plan, Source::Again(estate))
    }

    /// Makes the record of a VM that is started later.
    pub fn create(&self, image: &Image, config: &VmConfig) -> Result<VmSummary, Error> {
        let mut plan = Plan::new(&self.inner.home, &image.checked()?, config)?;
        plan.record.state = State::Created;
        let entry = self.registry().create(plan.record)?;
        Ok(self.registry().summary(&entry.record.id)?)
    }

    /// Gives a VM another name, whether it runs or not.
    pub fn rename_vm(&self, name: &str, to: &str) -> Result<(), Error> {
        names::check(to)?;
        let (record, dir) = self.registry().find(name)?;
        if Liveness::of(&dir).is_live() {
            let request = RequestBody::Rename { name: to.into() };
            let client = Client::new(record.socket, record.id);
            return Ok(client.ask(request, Deadline::after(ANSWER)).map(drop)?);
        }
        Ok(self.registry().reopen(&record.id)?.rename(to)?)
    }

    /// Changes what a VM may reach and how fast, whether it runs or not: see [`Vm::update_network`].
    pub fn update_vm_network(&self, name: &str, update: &NetworkUpdate) -> Result<(), Error> {
        let (record, dir) = self.registry().find(name)?;
        if Liveness::of(&dir).is_live() {
            return Vm::remote(self.clone(), record).update_network(update);
        }
        let mut entry = self.registry().reopen(&record.id)?;
        entry.record.config = update.applied(&entry.record.config)?;
        Ok(entry.save()?)
    }

    /// The images of VMs that have ended or were never started. While these live, the store keeps them.
    pub fn images_of_vms(&self) -> Result<Vec<StoredImage>, Error> {
        let store = self.store()?;
        let mut kept = Vec::new();
        for vm in self.vms()? {
            kept.extend(store.get(&vm.image_digest.parse()?)?);
        }
        Ok(kept)
    }

    /// Starts a VM that was checked.
    pub(crate) fn launch(&self, image: BootImage, plan: Plan, source: Source) -> Result<Vm, Error> {
        self.launch_attached(image, plan, source, None)
    }

    /// As [`Self::launch`], with somebody in front of the workload from its first byte on.
    pub(crate) fn launch_attached(
        &self,
        image: BootImage,
        plan: Plan,
        source: Source,
        attachment: Option<OwnedFd>,
    ) -> Result<Vm, Error> {
        let launch = Launch {
            home: &self.inner.home,
            assets: self.assets()?,
            notices: &self.inner.notices,
            tenure: self.inner.tenure,
            image,
            plan,
            attachment,
        };
        let started = supervisor::start(launch, source)?;
        Ok(Vm::started(self.clone(), started))
    }

    /// The image of this name (anything [`crate::images`] can parse), fetched if it is not in the store.
    /// [`Self::store`] and [`Self::image`] do it with options.
    pub fn pull(&self, reference: &str) -> Result<Image, Error> {
        Image::pull_into(self, reference)
    }

    /// All VMs with a record, running or not, oldest first. VMs that ended by the death of their process are
    /// settled on the way: shown as crashed, or swept if they were to be removed.
    pub fn vms(&self) -> Result<Vec<VmSummary>, Error> {
        Ok(self.registry().list()?)
    }

    /// The record of one VM, by name, id or unambiguous start of an id.
    pub fn vm_summary(&self, name: &str) -> Result<VmSummary, Error> {
        Ok(self.registry().summary(name)?)
    }

    /// Everything the record of a VM says.
    pub fn inspect_vm(&self, name: &str) -> Result<VmDetails, Error> {
        Ok(self.registry().details(name)?)
    }

    /// A running VM of this or another process, by name, id or unambiguous start of an id. Dropping the handle
    /// leaves the VM alone.
    pub fn open_vm(&self, name: &str) -> Result<Vm, Error> {
        let (record, dir) = self.registry().find(name)?;
        if !Liveness::of(&dir).is_live() {
            return Err(ClientError::NotRunning.into());
        }
        Ok(Vm::remote(self.clone(), record))
    }

    /// Waits for the workload of a VM of any process and gives its exit; at once if it has ended already.
    pub fn wait_vm(&self, name: &str, deadline: impl Into<Deadline>) -> Result<Exit, Error> {
        wait_remote(&self.inner.home, name, deadline.into())
    }

    /// Removes the record, log and disk of a VM that has ended; a running one is an error.
    pub fn remove_vm(&self, name: &str) -> Result<(), Error> {
        Ok(self.registry().remove(name)?)
    }

    /// Ends a running VM first, then removes it.
    pub fn kill_and_remove_vm(&self, name: &str) -> Result<(), Error> {
        let (record, _) = self.registry().find(name)?;
        Vm::remote(self.clone(), record.clone()).kill()?;
        match self.registry().remove(&record.id) {
            // It was to be removed by its supervisor.
            Err(RecordError::NotFound(_)) => Ok(()),
            other => Ok(other?),
        }
    }

    /// The log of a VM, running or not.
    pub fn logs(&self, name: &str) -> Result<LogReader, Error> {
        open_log(&self.inner.home, name)
    }

    /// What this host can do and what it lacks, check by check.
    pub fn doctor(&self) -> Vec<doctor::Check> {
        doctor::examine(&self.inner.home, self.libexec())
    }

    /// An image of the store by its digest, to start a copy of a VM of it.
    pub(crate) fn boot_image(&self, reference: &str, digest: &str) -> Result<BootImage, Error> {
        let id: ImageRef = digest.parse()?;
        let stored = self.store()?.get(&id)?;
        let stored = stored.ok_or_else(|| Error::ImageGone(reference.to_owned()))?;
        Ok(self.image(stored, reference).to_boot())
    }

    /// Makes a network on which VMs find each other, see [`crate::NetworkMode::Named`].
    pub fn create_network(&self, name: &str) -> Result<(), Error> {
        Ok(Networks::new(&self.inner.home).create(name)?)
    }

    /// Every network that has a name.
    pub fn networks(&self) -> Result<Vec<NetworkInfo>, Error> {
        Ok(Networks::new(&self.inner.home).list()?)
    }

    /// What is known of a network.
    pub fn network(&self, name: &str) -> Result<NetworkInfo, Error> {
        Ok(Networks::new(&self.inner.home).info(name)?)
    }

    /// Removes a network that no VM is on.
    pub fn remove_network(&self, name: &str) -> Result<(), Error> {
        Ok(Networks::new(&self.inner.home).remove(name)?)
    }

    /// Makes a volume, of 10 GiB unless a size is given. One that is there already is fine, unless it has another size.
    pub fn create_volume(&self, name: &str, size: Option<u64>) -> Result<(), Error> {
        Ok(Volumes::new(self.state()).create(name, size)?)
    }

    /// Every volume, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeInfo>, Error> {
        Volumes::new(self.state()).list()
    }

    /// What is known of a volume.
    pub fn volume(&self, name: &str) -> Result<VolumeInfo, Error> {
        Volumes::new(self.state()).info(name)
    }

    /// Removes a volume that no VM has, running or not, with everything in it.
    pub fn remove_volume(&self, name: &str) -> Result<(), Error> {
        Volumes::new(self.state()).remove(name)
    }

    /// Every snapshot, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, Error> {
        Ok(snapshots::list(&self.inner.home)?)
    }

    /// A snapshot by its name.
    pub fn snapshot(&self, name: &str) -> Result<Snapshot, Error> {
        Snapshot::open(self, name)
    }

    /// Whether a snapshot may be made under this name: it is one, and nobody has it.
    pub fn check_snapshot_name(&self, name: &str) -> Result<(), Error> {
        snapshots::check_free(&self.inner.home, name)
    }

    /// Reads a snapshot that [`Snapshot::export`] wrote, here or on another host; under the name it had there unless
    /// another one is given. Its image has to be in the store when it is started: [`Snapshot::missing_image`].
    pub fn import_snapshot(
        &self,
        from: &mut impl Read,
        name: Option<&str>,
    ) -> Result<Snapshot, Error> {
        snapshots::import(self, from, name)
    }

    /// Fetches a snapshot that [`Snapshot::push`] put into a registry, as [`Self::import_snapshot`] reads one.
    pub fn pull_snapshot(
        &self,
        from: &RegistryRef,
        name: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Snapshot, Error> {
        snapshots::pull(self, from, name, cancel)
    }

    /// Removes a snapshot, unless others hold what changed since it.
    pub fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        snapshots::remove(&self.inner.home, name)
    }

    /// What snapshots take on the disk.
    pub fn snapshot_usage(&self) -> Result<SavedUsage, Error> {
        Ok(snapshots::usage(&self.inner.home)?)
    }

    /// The images that snapshots need. While these live, the store keeps them.
    pub fn images_of_snapshots(&self) -> Result<Vec<StoredImage>, Error> {
        let store = self.store()?;
        let mut kept = Vec::new();
        for info in self.snapshots()? {
            if let Some(digest) = info.image_digest {
                kept.extend(store.get(&digest.parse()?)?);
            }
        }
        Ok(kept)
    }

    /// Makes the template a VM of this configuration starts from, if there is none; whether it made one.
    pub fn prepare(&self, config: &VmConfig) -> Result<bool, Error> {
        let assets = self.assets()?;
        let shape = Shape::of(assets, config.memory.shape_mib(), config.cpus)?;
        let templates = Templates {
            home: &self.inner.home,
            assets,
            notices: &self.inner.notices,
        };
        let limit = config.start_deadline;
        let (_, found) = templates
            .obtain(&shape, Deadline::after(limit))
            .map_err(|error| error.within(limit))?;
        Ok(found == Found::Made)
    }

    /// What templates take on the disk.
    pub fn template_usage(&self) -> Result<SavedUsage, Error> {
        Ok(template::usage(&self.inner.home)?)
    }

    /// Removes templates that nobody can or does use, and what was left half-made; what was removed.
    pub fn prune_templates(&self) -> Result<SavedUsage, Error> {
        Ok(template::prune(&self.inner.home)?)
    }

    /// Copies the programs and kernels that were found into the state directory, verified by digest, so that
    /// programs that embed the library find them.
    pub fn setup(&self) -> Result<SetupReport, Error> {
        Ok(setup::install(self.assets()?, &self.inner.home)?)
    }
}

pub(crate) fn open_log(home: &Home, name: &str) -> Result<LogReader, Error> {
    let (_, dir) = Registry::new(home).find(name)?;
    LogReader::open(&dir).map_err(|source| Error::Log { path: dir, source })
}

/// Asks the supervisor, or the record of a VM that has ended.
pub(crate) fn wait_remote(home: &Home, name: &str, deadline: Deadline) -> Result<Exit, Error> {
    let limit = deadline.remaining().unwrap_or_default();
    let registry = Registry::new(home);
    let (record, _) = registry.find(name)?;
    let refused = match Client::new(record.socket.clone(), record.id.clone())
        .ask(RequestBody::Wait, deadline)
    {
        Ok((Reply::Exited(exit), _)) => return Ok(exit),
        Err(ClientError::TimedOut) => {
            return Err(Error::Deadline {
                waiting_for: "the workload",
                limit,
            });
        }
        Ok(_) => ClientError::NotRunning,
        Err(error) => error,
    };
    match registry.summary(&record.id).map(|summary| summary.status) {
        Ok(VmStatus::Exited { exit, .. }) => Ok(exit),
        Ok(VmStatus::Stopped { .. } | VmStatus::Crashed) => Err(Error::Stopped),
        Ok(VmStatus::Failed { message, .. }) => Err(ClientError::Refused(message).into()),
        Ok(_) | Err(_) => Err(refused.into()),
    }
}
