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
    /// A thread's result is its vCPU: what a kicker points to lives as long as its thread's handle.
    threads: Vec<(JoinHandle<Vcpu>, VcpuKicker)>,
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
                .spawn(move || {
                    on_end(run(&mut vcpu, &shared, &bus));
                    vcpu
                })
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

fn run(vcpu: &mut Vcpu, shared: &Shared, bus: &Bus) -> End {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{BootState, layout};
    use crate::bus::Ports;
    use crate::hypervisor::{Access, Vm};
    use crate::memory;
    use std::sync::mpsc::channel;
    use vm_memory::{Bytes, GuestAddress};

    /// A console that keeps what it hears.
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl Ports for Heard {
        fn write(&mut self, _: u8, value: u8) {
            self.0.lock().unwrap().push(value);
        }
        fn read(&mut self, _: u8) -> u8 {
            0
        }
        fn flush(&mut self) {}
    }

    /// Starts vCPU 1 by INIT and SIPI, waits for its sign of life at 0x9000, prints 'B', resets.
    const BOOT_CPU: &[u8] = &[
        0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0, 0, // LAPIC on
        0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0, 0, 0, 1, // for APIC id 1
        0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0, 0, // INIT
        0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0, 0, // SIPI to 0x8000
        0x80, 0x3d, 0x00, 0x90, 0, 0, 1, // 1: cmp byte [0x9000], 1
        0x75, 0xf7, // jne 1b
        0x66, 0xba, 0xf8, 0x03, 0xb0, b'B', 0xee, // 'B' to the console
        0xb0, 0xfe, 0xe6, 0x64, 0xf4, // reset
    ];

    /// Real mode at 0x8000: prints 'A', leaves a sign of life, sleeps.
    const SECOND_CPU: &[u8] = &[
        0xfa, 0xba, 0xf8, 0x03, 0xb0, b'A', 0xee, // 'A' to the console
        0x31, 0xc0, 0x8e, 0xd8, // ds = 0
        0xc6, 0x06, 0x00, 0x90, 1, // [0x9000] = 1
        0xf4, 0xeb, 0xfd, // 1: hlt; jmp 1b
    ];

    #[test]
    fn the_boot_cpu_starts_the_second_one() {
        let kvm = kvm::open().unwrap();
        let mut vm = Vm::new(&kvm).unwrap();
        let ram = memory::allocate(4).unwrap();
        for (address, region) in ram.regions {
            vm.map(address, region, Access::Writable).unwrap();
        }
        vm.create_interrupt_controllers().unwrap();
        let vcpus: Vec<_> = (0..2).map(|id| vm.create_vcpu(id).unwrap()).collect();
        for (id, vcpu) in (0..).zip(&vcpus) {
            vcpu.configure(&kvm, id, 2).unwrap();
        }
        ram.memory
            .write_slice(BOOT_CPU, GuestAddress(layout::HIGH_MEMORY))
            .unwrap();
        ram.memory
            .write_slice(SECOND_CPU, GuestAddress(0x8000))
            .unwrap();
        let state = BootState {
            entry: layout::HIGH_MEMORY,
            start_info: 0,
        };
        vcpus[0].set_boot_state(&state).unwrap();

        let heard = Arc::new(Mutex::new(Vec::new()));
        let bus = Arc::new(Bus::new(Box::new(Heard(Arc::clone(&heard)))));
        let (sender, ended) = channel();
        KickSignal::install().unwrap();
        let threads = VcpuThreads::start(vcpus, &bus, move |end| drop(sender.send(end))).unwrap();
        assert_eq!(ended.recv().unwrap(), End::GuestReset);
        assert_eq!(*heard.lock().unwrap(), b"AB");
        // The second one sleeps; it can be brought out of the guest all the same.
        threads.pause();
    }
}
