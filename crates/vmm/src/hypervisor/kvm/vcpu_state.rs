//! Everything a vCPU is, read from KVM and written back in the order that works.

use super::msrs::{self, Msr, SOFTWARE_KVM_PAGE, TSC_DEADLINE};
use super::native::{self, STAR};
use super::plain::{from_bytes, to_bytes};
use super::{KvmError, Vcpu};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use serde::{Deserialize, Serialize};
use snapshot::state::{State, StateWriter};

/// Version of every section of a vCPU.
const VERSION: u16 = 1;

/// One entry of CPUID: function, index, flags, then the four registers.
pub(super) type Leaf = [u32; 7];

/// What is no plain structure of KVM's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    /// What the vCPU says it is: as KVM reports it, which is not always what was set.
    leaves: Vec<Leaf>,
    /// The frequency of its time stamp counter.
    tsc_khz: u32,
}

/// A vCPU at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VcpuState {
    identity: Identity,
    msrs: Vec<Msr>,
    /// The structures of KVM's interface, by name.
    plain: Vec<(&'static str, Vec<u8>)>,
}

const REGS: &str = "regs";
const SREGS: &str = "sregs";
const XCRS: &str = "xcrs";
const XSAVE: &str = "xsave";
const DEBUG_REGS: &str = "debugregs";
const LAPIC: &str = "lapic";
const EVENTS: &str = "events";
const MP_STATE: &str = "mp_state";
const PLAIN: [&str; 8] = [
    REGS, SREGS, XCRS, XSAVE, DEBUG_REGS, LAPIC, EVENTS, MP_STATE,
];

impl VcpuState {
    /// Writes the sections of vCPU `id`.
    pub fn write(&self, id: u8, sections: &mut StateWriter) {
        sections.put(&name(id, "identity"), VERSION, &self.identity);
        sections.put(&name(id, "msrs"), VERSION, &self.msrs);
        for (part, bytes) in &self.plain {
            sections.put_bytes(&name(id, part), VERSION, bytes);
        }
    }

    /// Reads the sections of vCPU `id`.
    pub fn read(id: u8, sections: &State) -> Result<Self, KvmError> {
        let refused = |error: snapshot::state::StateError| KvmError::State(error.to_string());
        let plain = PLAIN
            .iter()
            .map(|&part| {
                let bytes = sections.bytes(&name(id, part), VERSION)?;
                Ok((part, bytes.to_vec()))
            })
            .collect::<Result<_, _>>()
            .map_err(refused)?;
        Ok(Self {
            identity: sections
                .get(&name(id, "identity"), VERSION)
                .map_err(refused)?,
            msrs: sections.get(&name(id, "msrs"), VERSION).map_err(refused)?,
            plain,
        })
    }

    /// What the vCPU said it is.
    pub(super) fn leaves(&self) -> &[Leaf] {
        &self.identity.leaves
    }

    fn msr(&self, index: u32) -> Option<u64> {
        self.msrs.iter().find(|msr| msr.0 == index).map(|msr| msr.1)
    }

    fn part<T: super::plain::Plain>(&self, wanted: &'static str) -> Result<T, KvmError> {
        let bytes = self
            .plain
            .iter()
            .find(|(part, _)| *part == wanted)
            .map_or(&[][..], |(_, bytes)| bytes);
        from_bytes(wanted, bytes)
    }
}

fn name(id: u8, part: &str) -> String {
    format!("x86_64/kvm/vcpu{id}/{part}")
}

impl Vcpu {
    /// Reads everything. The vCPU is out of the guest, and what it left the guest for is completed.
    pub fn save(&self, msr_indices: &[u32]) -> Result<VcpuState, KvmError> {
        let fd = &self.fd;
        let read = KvmError::step;
        // First: asking for it may deliver a pending INIT or SIPI, which changes the rest.
        let mp_state = fd.get_mp_state().map_err(read("read the run state"))?;
        let plain = vec![
            (MP_STATE, to_bytes(&mp_state)),
            (
                REGS,
                to_bytes(&fd.get_regs().map_err(read("read the registers"))?),
            ),
            (
                SREGS,
                to_bytes(&fd.get_sregs().map_err(read("read the segment registers"))?),
            ),
            (
                XSAVE,
                to_bytes(&fd.get_xsave().map_err(read("read the vector registers"))?),
            ),
            (
                XCRS,
                to_bytes(&fd.get_xcrs().map_err(read("read the XCRs"))?),
            ),
            (
                DEBUG_REGS,
                to_bytes(
                    &fd.get_debug_regs()
                        .map_err(read("read the debug registers"))?,
                ),
            ),
            (
                LAPIC,
                to_bytes(&fd.get_lapic().map_err(read("read the LAPIC"))?),
            ),
            (
                EVENTS,
                to_bytes(
                    &fd.get_vcpu_events()
                        .map_err(read("read the pending events"))?,
                ),
            ),
        ];
        let cpuid = fd
            .get_cpuid2(KVM_MAX_CPUID_ENTRIES)
            .map_err(read("read the CPU's features"))?;
        Ok(VcpuState {
            identity: Identity {
                leaves: cpuid.as_slice().iter().map(leaf).collect(),
                tsc_khz: fd
                    .get_tsc_khz()
                    .map_err(read("read the time stamp counter's frequency"))?,
            },
            msrs: msrs::read(fd, msr_indices)?,
            plain,
        })
    }

    /// Writes everything back. Memory and interrupt controllers exist; the irqchip's own state may come later.
    pub fn restore(&self, state: &VcpuState) -> Result<(), KvmError> {
        let fd = &self.fd;
        let write = KvmError::step;
        let cpuid = cpuid(state.leaves())?;
        fd.set_cpuid2(&cpuid)
            .map_err(write("set the CPU's features"))?;
        self.restore_frequency(state.identity.tsc_khz)?;
        let regs = state.part(REGS)?;
        let mut sregs = state.part(SREGS)?;
        if state.msr(SOFTWARE_KVM_PAGE).is_some_and(|page| page != 0) {
            native::mend_segments(&regs, &mut sregs, state.msr(STAR).unwrap_or(0));
        }
        fd.set_sregs(&sregs)
            .map_err(write("set the segment registers"))?;
        fd.set_xcrs(&state.part(XCRS)?)
            .map_err(write("set the XCRs"))?;
        // SAFETY: no dynamic XSAVE feature was ever permitted to this process, so KVM reads no more than the
        // structure's 4096 bytes.
        unsafe { fd.set_xsave(&state.part(XSAVE)?) }.map_err(write("set the vector registers"))?;
        fd.set_debug_regs(&state.part(DEBUG_REGS)?)
            .map_err(write("set the debug registers"))?;
        let (last, first): (Vec<Msr>, Vec<Msr>) = state
            .msrs
            .iter()
            .partition(|msr| matches!(msr.0, SOFTWARE_KVM_PAGE | TSC_DEADLINE));
        msrs::write(fd, &first)?;
        self.write_msr(&last, SOFTWARE_KVM_PAGE)?;
        fd.set_lapic(&state.part(LAPIC)?)
            .map_err(write("set the LAPIC"))?;
        self.write_msr(&last, TSC_DEADLINE)?;
        fd.set_vcpu_events(&state.part(EVENTS)?)
            .map_err(write("set the pending events"))?;
        fd.set_mp_state(state.part(MP_STATE)?)
            .map_err(write("set the run state"))?;
        fd.set_regs(&regs).map_err(write("set the registers"))?;
        // Tells the guest's watchdogs that it was away. A guest without a paravirtual clock has none to tell.
        let _ = fd.kvmclock_ctrl();
        Ok(())
    }

    fn write_msr(&self, msrs: &[Msr], index: u32) -> Result<(), KvmError> {
        match msrs.iter().find(|msr| msr.0 == index) {
            Some(msr) => msrs::write(&self.fd, &[*msr]),
            None => Ok(()),
        }
    }

    /// A counter of another frequency has to be scaled, which not every host can. Asking only where it differs: a
    /// software KVM refuses to set what it already has, and believes it afterwards.
    fn restore_frequency(&self, khz: u32) -> Result<(), KvmError> {
        let here = self
            .fd
            .get_tsc_khz()
            .map_err(KvmError::step("read the time stamp counter's frequency"))?;
        if here == khz {
            return Ok(());
        }
        self.fd.set_tsc_khz(khz).map_err(|_| {
            KvmError::State(format!(
                "its time stamp counter runs at {khz} kHz, this host's at {here} kHz, and it cannot be scaled here"
            ))
        })
    }
}

/// An entry as it is saved.
pub(super) fn leaf(entry: &kvm_cpuid_entry2) -> Leaf {
    [
        entry.function,
        entry.index,
        entry.flags,
        entry.eax,
        entry.ebx,
        entry.ecx,
        entry.edx,
    ]
}

/// The entries of a saved vCPU, as KVM takes them.
pub(super) fn cpuid(leaves: &[Leaf]) -> Result<CpuId, KvmError> {
    let entries: Vec<_> = leaves
        .iter()
        .map(
            |&[function, index, flags, eax, ebx, ecx, edx]| kvm_cpuid_entry2 {
                function,
                index,
                flags,
                eax,
                ebx,
                ecx,
                edx,
                ..kvm_cpuid_entry2::default()
            },
        )
        .collect();
    CpuId::from_entries(&entries)
        .map_err(|error| KvmError::State(format!("the list of CPU features is unusable: {error}")))
}
