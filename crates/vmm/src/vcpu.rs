//! The threads that run vCPUs, and how they are paused.

use crate::bus::{Bus, KEYBOARD_PORT};
use crate::error::VmmError;
use crate::hypervisor::kvm::{Vcpu, VcpuKicker};
use crate::hypervisor::{Exit, kvm};
use crate::os::KickSignal;
use proto::control::{End, Step};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use vmm_sys_util::signal::Killable;

use kvm::ExitRequest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Running,
    Paused,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    wanted: Wanted,
    parked: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stays here for as long as a pause is wanted.
    fn park(&self) {
        let mut state = self.lock();
        state.parked += 1;
        self.changed.notify_all();
        while state.wanted == Wanted::Paused {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state.parked -= 1;
    }
}

/// Every vCPU of a VM.
pub struct VcpuThreads {
    shared: Arc<Shared>,
    threads: Vec<(JoinHandle<()>, VcpuKicker)>,
}

impl VcpuThreads {
    /// Starts a thread per vCPU. `on_end` hears why the first of them stopped for good.
    pub fn start(
        vcpus: Vec<Vcpu>,
        bus: &Arc<Bus>,
        on_end: impl Fn(End) + Send + Clone + 'static,
    ) -> Result<Self, VmmError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wanted: Wanted::Running,
                parked: 0,
            }),
            changed: Condvar::new(),
        });
        let mut threads = Vec::with_capacity(vcpus.len());
        for (id, mut vcpu) in vcpus.into_iter().enumerate() {
            let kicker = vcpu.kicker();
            let (shared, bus, on_end) = (Arc::clone(&shared), Arc::clone(bus), on_end.clone());
            let thread = thread::Builder::new()
                .name(format!("vcpu{id}"))
                .spawn(move || on_end(run(vcpu, &shared, &bus)))
                .map_err(VmmError::at(Step::Vcpu, "cannot start a vCPU thread"))?;
            threads.push((thread, kicker));
        }
        Ok(Self { shared, threads })
    }

    /// Brings every vCPU out of the guest; returns when all of them are parked.
    pub fn pause(&self) {
        let mut state = self.shared.lock();
        state.wanted = Wanted::Paused;
        for (thread, kicker) in &self.threads {
            kicker.request_exit(ExitRequest::Leave);
            // A thread that just ended cannot be signaled, and need not be.
            let _ = thread.kill(KickSignal::number());
        }
        while state.parked < self.threads.len() && !self.any_ended() {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let mut state = self.shared.lock();
        state.wanted = Wanted::Running;
        for (_, kicker) in &self.threads {
            kicker.request_exit(ExitRequest::Run);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn any_ended(&self) -> bool {
        self.threads.iter().any(|(thread, _)| thread.is_finished())
    }
}

/// The command that pulses the reset line.
const KEYBOARD_RESET: u8 = 0xfe;

fn run(mut vcpu: Vcpu, shared: &Shared, bus: &Bus) -> End {
    loop {
        match vcpu.run() {
            Exit::PortWrite(KEYBOARD_PORT, [KEYBOARD_RESET]) | Exit::Reset => {
                return End::GuestReset;
            }
            Exit::PortWrite(port, data) => bus.port_write(port, data),
            Exit::PortRead(port, data) => bus.port_read(port, data),
            Exit::MmioWrite(address, data) => bus.mmio_write(address, data),
            Exit::MmioRead(data) => data.fill(0xff),
            Exit::Interrupted => shared.park(),
            Exit::TripleFault => {
                return VmmError::new(Step::Vcpu, "the guest's CPU shut down after a triple fault")
                    .into_end();
            }
            Exit::InternalError => {
                return VmmError::new(Step::Vcpu, vcpu.describe_internal_error()).into_end();
            }
            Exit::Failed(reason) => return VmmError::new(Step::Vcpu, reason).into_end(),
        }
    }
}
