//! A machine that was saved, and saving one.

use super::boot::check_version;
use super::chassis::{Chassis, check_vcpus};
use super::devices::{Devices, section};
use super::{Machine, Running};
use crate::control::ControlSocket;
use crate::disks::DiskSet;
use crate::error::VmmError;
use crate::event_loop::Inherited;
use crate::hypervisor::KvmError;
use crate::hypervisor::kvm::{self, VcpuState};
use crate::memory::{self, Ram};
use crate::network::NetworkSet;
use proto::control::{Contents, KernelFlavor, Restore, Step};
use serde::{Deserialize, Serialize};
use snapshot::state::{State, StateWriter};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// The section that says what kind of machine the others are about.
const MACHINE: &str = "machine";
const VERSION: u16 = 1;

/// A state file is some 20 KiB a vCPU; one that is larger than this is none.
const MAX_STATE: u64 = 16 << 20;

/// The shape of a saved machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    memory_mib: u32,
    vcpus: u8,
    kernel: KernelFlavor,
}

/// What a machine is continued from.
pub enum Source {
    /// Files.
    Files {
        /// The sections.
        state: File,
        /// Memory, the oldest layer first.
        layers: Vec<File>,
        /// Pages that are going to be written.
        working_set: Option<File>,
    },
    /// What a copy of a VMM has of the original.
    Inherited(Inherited),
}

impl Source {
    /// Sorts the descriptors of a `Restore` message: the console, then what there is to continue.
    pub fn new(
        restore: &Restore,
        descriptors: Vec<OwnedFd>,
        inherited: Option<Inherited>,
    ) -> Result<(File, Self), VmmError> {
        check_version(restore.version)?;
        let count = descriptors.len();
        let layers = usize::from(restore.layers);
        let mut files = descriptors.into_iter().map(File::from);
        let parts = (files.next(), files.next(), files.collect::<Vec<_>>());
        match (parts, inherited) {
            ((Some(console), None, _), Some(inherited)) if layers == 0 => {
                Ok((console, Self::Inherited(inherited)))
            }
            ((Some(console), Some(state), mut files), None)
                if layers > 0 && files.len() == layers + usize::from(restore.working_set) =>
            {
                let working_set = files.drain(layers..).next();
                Ok((
                    console,
                    Self::Files {
                        state,
                        layers: files,
                        working_set,
                    },
                ))
            }
            _ => Err(VmmError::new(
                Step::Protocol,
                format!("a restore from {layers} memory layers came with {count} descriptors"),
            )),
        }
    }

    fn open(self) -> Result<(State, Shape, Ram), VmmError> {
        let parse = |bytes: &[u8]| {
            let state = State::parse(bytes)
                .map_err(|error| VmmError::new(Step::Restore, error.to_string()))?;
            let shape: Shape = section(&state, MACHINE, VERSION)?;
            check_vcpus(shape.vcpus)?;
            Ok::<_, VmmError>((state, shape))
        };
        match self {
            Self::Files {
                state,
                layers,
                working_set,
            } => {
                let (state, shape) = parse(&read(&state)?)?;
                let ram = memory::restore(shape.memory_mib, layers)?;
                if let Some(list) = working_set {
                    memory::make_ready(&ram, &list);
                }
                Ok((state, shape, ram))
            }
            Self::Inherited(inherited) => {
                let (state, shape) = parse(&inherited.state)?;
                Ok((state, shape, inherited.ram))
            }
        }
    }
}

fn read(file: &File) -> Result<Vec<u8>, VmmError> {
    let failed = || VmmError::at(Step::Restore, "cannot read the state file");
    let size = file.metadata().map_err(failed())?.len();
    if size > MAX_STATE {
        let message = format!("the state file has {size} bytes, more than any machine's");
        return Err(VmmError::new(Step::Restore, message));
    }
    let mut bytes = vec![0; size as usize];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0).map_err(failed())?;
    Ok(bytes)
}

impl Machine {
    /// Builds the machine that `source` has.
    pub fn restore(
        source: Source,
        console: File,
        parts: (&mut DiskSet, &mut NetworkSet),
        control: &ControlSocket,
    ) -> Result<Self, VmmError> {
        let (state, shape, ram) = source.open()?;
        let chassis = Chassis::new(ram, shape.vcpus)?;
        if chassis.flavor != shape.kernel {
            let message = format!(
                "it runs the guest kernel {}, and this host's KVM needs {}",
                shape.kernel.name(),
                chassis.flavor.name()
            );
            return Err(VmmError::new(Step::Restore, message));
        }
        let (devices, bus) = Devices::plug(&chassis, console, parts, control)?;
        devices.restore(&state)?;
        let refused = |error: KvmError| VmmError::new(Step::Restore, error.to_string());
        for (id, vcpu) in (0..).zip(&chassis.vcpus) {
            let saved = VcpuState::read(id, &state).map_err(refused)?;
            if id == 0 {
                vcpu.check(&chassis.kvm, &saved).map_err(refused)?;
            }
            vcpu.restore(&saved).map_err(refused)?;
        }
        chassis.vm.restore(&state).map_err(refused)?;
        devices.announce();
        Ok(Self::assemble(chassis, devices, bus))
    }
}

impl Running {
    /// Everything about the paused machine but its memory.
    pub fn save_state(&self) -> Result<Vec<u8>, VmmError> {
        let mut sections = StateWriter::new();
        let vcpus = self.vcpus.save(&kvm::msr_indices(&self.kvm)?.into())?;
        let shape = Shape {
            memory_mib: self.ram.mib(),
            vcpus: vcpus.len() as u8,
            kernel: self.kernel,
        };
        sections.put(MACHINE, VERSION, &shape);
        for (id, vcpu) in (0..).zip(&vcpus) {
            vcpu.write(id, &mut sections);
        }
        self.vm.save(&mut sections)?;
        self.devices.save(&mut sections);
        Ok(sections.finish())
    }

    /// Writes the paused machine into two empty files. Returns the pages of its memory that were written.
    pub fn save(
        &self,
        contents: Contents,
        state: &File,
        memory: &File,
        pagemap: &File,
    ) -> Result<u64, VmmError> {
        let mut target = state;
        target
            .write_all(&self.save_state()?)
            .map_err(VmmError::at(Step::Device, "cannot write the state file"))?;
        memory::dump(&self.ram, contents, memory, pagemap)
            .map_err(VmmError::at(Step::Memory, "cannot write the memory file"))
    }

    /// Lists the pages that were written since the machine was restored.
    pub fn list_writes(&self, out: &File, pagemap: &File) -> std::io::Result<u64> {
        memory::list_writes(&self.ram, out, pagemap)
    }

    /// The memory, for a copy of this process.
    pub fn ram(&self) -> &Ram {
        &self.ram
    }
}
