//! The threads that run vCPUs, and how they are paused.

use crate::bus::{Bus, KEYBOARD_PORT};
use crate::error::VmmError;
use crate::hypervisor::kvm::{Vcpu, VcpuKicker, VcpuState};
use crate::hypervisor::{Exit, KvmError, kvm};
use crate::os::KickSignal;
use proto::control::{End, Step};
use std::sync::mpsc::channel;
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
    /// Threads that will not run a guest again.
    ended: usize,
    /// What each vCPU is asked to do while it is parked, by its number.
    asked: Vec<Option<Job>>,
}

/// Something to do with a vCPU on its own thread: KVM is quicker there.
type Job = Box<dyn FnOnce(&Vcpu) + Send>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stays here for as long as a pause is wanted, and does what is asked meanwhile.
    fn park(&self, id: usize, vcpu: &Vcpu) {
        let mut state = self.lock();
        state.parked += 1;
        self.changed.notify_all();
        while state.wanted == Wanted::Paused {
            state = match state.asked[id].take() {
                Some(job) => {
                    drop(state);
                    job(vcpu);
                    self.lock()
                }
                None => self.wait(state),
            };
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
                ended: 0,
                asked: vcpus.iter().map(|_| None).collect(),
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
                    let end = run(id, &mut vcpu, &shared, &bus);
                    shared.lock().ended += 1;
                    shared.changed.notify_all();
                    on_end(end);
                    vcpu
                })
                .map_err(VmmError::at(Step::Vcpu, "cannot start a vCPU thread"))?;
            threads.push((thread, kicker));
        }
        Ok(Self { shared, threads })
    }

    /// Brings every vCPU out of the guest; returns when all of them are parked or have ended.
    pub fn pause(&self) {
        let mut state = self.shared.lock();
        state.wanted = Wanted::Paused;
        for (thread, kicker) in &self.threads {
            kicker.request_exit(ExitRequest::Leave);
            // A thread that just ended cannot be signaled, and need not be.
            let _ = thread.kill(KickSignal::number());
        }
        while state.parked + state.ended < self.threads.len() {
            state = self.shared.wait(state);
        }
    }

    /// Reads every vCPU, in the order of their numbers, while they are paused.
    pub fn save(&self, msrs: &Arc<[u32]>) -> Result<Vec<VcpuState>, VmmError> {
        let (sender, saved) = channel();
        let mut state = self.shared.lock();
        if state.ended > 0 {
            return Err(VmmError::new(Step::Vcpu, "the VM is about to end"));
        }
        for (id, asked) in state.asked.iter_mut().enumerate() {
            let (sender, msrs) = (sender.clone(), Arc::clone(msrs));
            // A receiver that is gone has heard of another vCPU's failure.
            *asked = Some(Box::new(move |vcpu| {
                let _ = sender.send((id, vcpu.save(&msrs)));
            }));
        }
        drop((state, sender));
        self.shared.changed.notify_all();
        let mut states = saved
            .iter()
            .map(|(id, state)| Ok((id, state?)))
            .collect::<Result<Vec<_>, KvmError>>()?;
        states.sort_by_key(|&(id, _)| id);
        Ok(states.into_iter().map(|(_, state)| state).collect())
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
}

/// The command that pulses the reset line.
const KEYBOARD_RESET: u8 = 0xfe;

fn run(id: usize, vcpu: &mut Vcpu, shared: &Shared, bus: &Bus) -> End {
    loop {
        match vcpu.run() {
            Exit::PortWrite(KEYBOARD_PORT, [KEYBOARD_RESET]) | Exit::Reset => {
                return End::GuestReset;
            }
            Exit::PortWrite(port, data) => bus.port_write(port, data),
            Exit::PortRead(port, data) => bus.port_read(port, data),
            Exit::MmioWrite(address, data) => bus.mmio_write(address, data),
            Exit::MmioRead(data) => data.fill(0xff),
            Exit::Interrupted => shared.park(id, vcpu),
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
    use crate::memory::{self, Ram};
    use std::sync::Barrier;
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

    /// A machine of `count` vCPUs around `ram`, which have no state yet.
    fn chassis(count: u8, ram: &Ram) -> (Vm, Vec<Vcpu>) {
        let kvm = kvm::open().unwrap();
        let mut vm = Vm::new(&kvm).unwrap();
        for (address, region) in &ram.regions {
            vm.map(*address, Arc::clone(region), Access::Writable)
                .unwrap();
        }
        vm.create_interrupt_controllers().unwrap();
        let vcpus: Vec<_> = (0..count).map(|id| vm.create_vcpu(id).unwrap()).collect();
        for (id, vcpu) in (0..).zip(&vcpus) {
            vcpu.configure(&kvm, id, count).unwrap();
        }
        (vm, vcpus)
    }

    /// A machine of which the first vCPU runs `code` and the others wait for `other`.
    fn machine(count: u8, ram: &Ram, code: &[u8], other: &[u8]) -> (Vm, Vec<Vcpu>) {
        let (vm, vcpus) = chassis(count, ram);
        let write = |code: &[u8], address| ram.memory.write_slice(code, GuestAddress(address));
        write(code, layout::HIGH_MEMORY).unwrap();
        write(other, 0x8000).unwrap();
        let state = BootState {
            entry: layout::HIGH_MEMORY,
            start_info: 0,
        };
        vcpus[0].set_boot_state(&state).unwrap();
        (vm, vcpus)
    }

    #[test]
    fn the_boot_cpu_starts_the_second_one() {
        let ram = memory::allocate(4).unwrap();
        let (_vm, vcpus) = machine(2, &ram, BOOT_CPU, SECOND_CPU);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let bus = Arc::new(Bus::new(Arc::new(Mutex::new(Heard(Arc::clone(&heard))))));
        let (sender, ended) = channel();
        KickSignal::install().unwrap();
        let threads = VcpuThreads::start(vcpus, &bus, move |end| drop(sender.send(end))).unwrap();
        assert_eq!(ended.recv().unwrap(), End::GuestReset);
        assert_eq!(*heard.lock().unwrap(), b"AB");
        // The second one sleeps; it can be brought out of the guest all the same.
        threads.pause();
    }

    #[test]
    fn a_pause_does_not_wait_for_a_vcpu_that_has_ended() {
        let ram = memory::allocate(4).unwrap();
        let (_vm, vcpus) = machine(1, &ram, &[0xb0, 0xfe, 0xe6, 0x64, 0xf4], &[]);
        let bus = Arc::new(Bus::new(Arc::new(Mutex::new(Heard(Arc::default())))));
        KickSignal::install().unwrap();
        let (ended, release) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let barriers = (Arc::clone(&ended), Arc::clone(&release));
        let threads = VcpuThreads::start(vcpus, &bus, move |_| {
            barriers.0.wait();
            barriers.1.wait();
        })
        .unwrap();
        ended.wait();
        threads.pause();
        release.wait();
    }

    /// As [`BOOT_CPU`], then counts at 0x9020 until the byte at 0x9030 is 1, then resets.
    fn counting_boot_cpu() -> Vec<u8> {
        let start = BOOT_CPU.windows(2).position(|code| code == [0x75, 0xf7]);
        let mut code = BOOT_CPU[..start.unwrap() + 2].to_vec();
        code.extend([0xff, 0x05, 0x20, 0x90, 0, 0]); // 1: inc dword [0x9020]
        code.extend([0x80, 0x3d, 0x30, 0x90, 0, 0, 1, 0x75, 0xf1]); // cmp byte [0x9030], 1; jne 1b
        code.extend([0xb0, 0xfe, 0xe6, 0x64, 0xf4]);
        code
    }

    /// Real mode at 0x8000: leaves a sign of life, counts at 0x9010 for ever.
    const COUNTING_CPU: &[u8] = &[
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, // ds = 0
        0xc6, 0x06, 0x00, 0x90, 1, // [0x9000] = 1
        0xff, 0x06, 0x10, 0x90, 0xeb, 0xfa, // 1: inc word [0x9010]; jmp 1b
    ];

    #[test]
    fn two_vcpus_go_on_in_another_machine() {
        let ram = memory::allocate(4).unwrap();
        let read = |address| ram.memory.read_obj::<u16>(GuestAddress(address)).unwrap();
        let moves = |address| {
            let before = read(address);
            while read(address) == before {
                thread::yield_now();
            }
        };
        let bus = Arc::new(Bus::new(Arc::new(Mutex::new(Heard(Arc::default())))));
        KickSignal::install().unwrap();
        let (_first, vcpus) = machine(2, &ram, &counting_boot_cpu(), COUNTING_CPU);
        let threads = VcpuThreads::start(vcpus, &bus, |_| {}).unwrap();
        moves(0x9010);
        moves(0x9020);
        threads.pause();
        let kvm = kvm::open().unwrap();
        let saved = threads
            .save(&kvm::msr_indices(&kvm).unwrap().into())
            .unwrap();
        assert_eq!(saved.len(), 2);

        let (_second, vcpus) = chassis(2, &ram);
        for (vcpu, state) in vcpus.iter().zip(&saved) {
            vcpu.restore(state).unwrap();
        }
        let (sender, ended) = channel();
        let again = VcpuThreads::start(vcpus, &bus, move |end| drop(sender.send(end))).unwrap();
        moves(0x9010);
        moves(0x9020);
        ram.memory.write_obj(1_u8, GuestAddress(0x9030)).unwrap();
        assert_eq!(ended.recv().unwrap(), End::GuestReset);
        again.pause();
    }
}
