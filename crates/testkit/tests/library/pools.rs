//! Pools of VMs through the library.

use crate::{idle_vm, image, runtime};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use supermachine::{Error, Memory, PoolBuilder, PoolError, Runtime, Vm, VmConfig};
use testkit::{Home, Processes, files, target};

/// How often a VM is taken, used and given back to show that nothing grows: in every run of the tests, and in a soak.
const CYCLES: [u64; 2] = [200, 10_000];
/// What the heap may come by while it finds its size.
const HEAP_KIB: u64 = 4096;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(120);

fn pool(home: &Home) -> PoolBuilder {
    image(home, "busybox").pool().acquire_timeout(LONG)
}

fn say(vm: &Vm, script: &str) -> String {
    String::from_utf8(vm.exec(["sh", "-c", script]).unwrap().stdout).unwrap()
}

/// The VMMs that hold files of this home open.
fn vmms_of(home: &Home) -> Vec<Pid> {
    let holds = |pid: &Pid| {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        let mut targets = descriptors
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| fs::read_link(entry.path()));
        targets.any(|target| target.is_ok_and(|target| target.starts_with(home.path())))
    };
    let all = Processes::of_this_test().vmms();
    all.into_iter().filter(holds).collect()
}

/// Kills a process and returns when it has ended.
fn kill(pid: Pid) {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
}

/// Of this process.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
}

fn entries(dir: &str) -> u64 {
    fs::read_dir(dir).unwrap().count() as u64
}

#[test]
fn every_vm_is_clean_and_has_a_host_name_and_addresses_of_its_own() {
    let home = Home::new();
    let pool = pool(&home).min(1).max(2).build().unwrap();
    let (mut hosts, mut cards) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..6 {
        let vm = pool.acquire().unwrap();
        assert_eq!(say(&vm, "ls /left /dev/shm/left 2>/dev/null"), "");
        say(&vm, "echo x > /left; echo x > /dev/shm/left");
        assert!(hosts.insert(say(&vm, "hostname")));
        assert!(cards.insert(say(&vm, "cat /sys/class/net/eth0/address")));
        vm.release();
    }
    assert_eq!(pool.stats().acquired, 6);
    drop(pool);
    home.assert_nothing_left();
}

#[test]
fn a_pool_of_a_snapshot_gives_copies_that_share_nothing_they_write() {
    let home = Home::new();
    let vm = idle_vm(&home);
    say(&vm, "echo warm > /dev/shm/cache");
    let snapshot = vm.snapshot("warm").unwrap();
    drop(vm);
    let pool = snapshot.pool().min(1).max(2).build().unwrap();
    let mut cards = BTreeSet::new();
    for _ in 0..3 {
        let vm = pool.acquire().unwrap();
        assert!(cards.insert(say(&vm, "cat /sys/class/net/eth0/address")));
        assert_eq!(say(&vm, "cat /dev/shm/cache; ls /own"), "warm\n");
        say(&vm, "echo own > /own; echo cold > /dev/shm/cache");
    }
    drop(pool);
    home.assert_nothing_left();
}

#[test]
fn those_who_wait_for_a_pool_of_two_are_all_served_in_their_order() {
    let home = Home::new();
    let pool = pool(&home).min(0).max(2).build().unwrap();
    let mut held = vec![pool.acquire().unwrap(), pool.acquire().unwrap()];
    let (sender, served) = mpsc::channel();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (waiter, sender) = (pool.clone(), sender.clone());
            scope.spawn(move || sender.send((number, waiter.acquire().unwrap())).unwrap());
            // Nothing tells that somebody has begun to wait.
            while pool.stats().waiting <= number {
                std::thread::yield_now();
            }
        }
        for expected in 0..4 {
            held.remove(0).release();
            let (number, vm) = served.recv().unwrap();
            assert_eq!(number, expected);
            assert_eq!(say(&vm, "echo served"), "served\n");
            held.push(vm);
        }
    });
    drop((held, pool));
    home.assert_nothing_left();
}

#[test]
fn a_pool_that_is_exhausted_says_so_in_numbers() {
    let home = Home::new();
    let pool = pool(&home).min(0).max(1).build().unwrap();
    let vm = pool.acquire().unwrap();
    let error = pool.acquire_deadline(Duration::ZERO).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Pool(PoolError::Exhausted {
                max: 1,
                in_use: 1,
                waiting: 0,
                ..
            })
        ),
        "{error:?}"
    );
    assert_eq!(error.exit_code(), 124);
    drop(vm);
    pool.acquire().unwrap();
}

#[test]
fn a_vm_that_died_while_nobody_used_it_is_replaced_and_never_given() {
    let home = Home::new();
    let pool = pool(&home).min(1).max(1).build().unwrap();
    pool.wait_ready(LONG).unwrap();
    let [idle] = vmms_of(&home)[..] else {
        panic!("one VM is ready")
    };
    kill(idle);
    let vm = pool.acquire().unwrap();
    assert_eq!(say(&vm, "echo alive"), "alive\n");
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.made, stats.acquired), (1, 2, 1));
}

#[test]
fn a_dropped_pool_ends_what_is_idle_and_leaves_what_is_in_use_until_it_comes_back() {
    let home = Home::new();
    let pool = pool(&home).min(2).max(4).build().unwrap();
    let vm = pool.acquire().unwrap();
    pool.wait_ready(LONG).unwrap();
    drop(pool);
    assert_eq!(vmms_of(&home).len(), 1);
    assert_eq!(runtime(&home).vms().unwrap().len(), 1);
    assert_eq!(say(&vm, "echo alive"), "alive\n");
    drop(vm);
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}

#[test]
fn many_cycles_leave_no_process_thread_descriptor_or_file() {
    const MAX: u64 = 3;
    /// Descriptors of a VM, its log and its clients included, and of whoever uses it.
    const EACH: u64 = 24;
    let home = Home::new();
    pool(&home).min(0).build().unwrap().acquire().unwrap();
    let before = (entries("/proc/self/fd"), files::list(home.path()));
    let threads = entries("/proc/self/task");
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let pool = pool(&home).min(2).max(MAX as usize).build().unwrap();
    // As many may end as there may be, and one more.
    let vms = 2 * MAX + 2;
    let cycles = testkit::rounds(CYCLES);
    let mut resident = 0;
    for cycle in 0..cycles {
        let vm = pool.acquire().unwrap();
        assert!(vm.exec(["true"]).unwrap().success());
        vm.release();
        assert!(
            entries("/proc/self/fd") <= before.0 + vms * EACH,
            "cycle {cycle}"
        );
        assert!(
            entries("/proc/self/task") <= threads + vms + cpus + 2,
            "cycle {cycle}"
        );
        if cycle == cycles / 10 {
            resident = resident_kib();
        }
    }
    assert!(resident_kib() < resident + HEAP_KIB, "from {resident} KiB");
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.failed), (cycles, 0));
    drop(pool);
    assert_eq!(files::list(home.path()), before.1);
    // A thread that has said that it ends may hold one for a moment.
    assert!(entries("/proc/self/fd") < before.0 + CYCLES[0] / 10);
    home.assert_nothing_left();
}

#[test]
fn without_memory_nothing_is_made_until_there_is_some() {
    let home = Home::new();
    let mib = Arc::new(AtomicU64::new(300));
    let read = Arc::clone(&mib);
    let pool = pool(&home)
        .config(VmConfig::new().memory(Memory::from_bytes(128 << 20).unwrap()))
        .memory_available(move || Ok(read.load(Ordering::Relaxed) << 20))
        .min(0)
        .max(4)
        .build()
        .unwrap();
    let first = pool.acquire().unwrap();
    let error = pool
        .acquire_deadline(Duration::from_millis(500))
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Pool(PoolError::NoMemory {
                needed_mib: 136,
                available_mib: 300,
                max: 4,
                in_use: 1,
                ..
            })
        ),
        "{error:?}"
    );
    mib.store(64 << 10, Ordering::Relaxed);
    let second = pool.acquire().unwrap();
    assert_eq!(say(&second, "echo room"), "room\n");
    assert_eq!(
        (pool.stats().failed, say(&first, "echo alive").as_str()),
        (0, "alive\n")
    );
}

/// A runtime in this home with copies of the programs.
fn runtime_with_copies(home: &Home, libexec: &Path) -> Runtime {
    fs::create_dir(libexec).unwrap();
    for entry in fs::read_dir(target::programs()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let wanted = ["supermachine-vmm", "initramfs", "assets.json"].contains(&name);
        if wanted || name.starts_with("kernel-") {
            fs::copy(&path, libexec.join(name)).unwrap();
        }
    }
    let builder = Runtime::builder().home(home.path()).libexec(libexec);
    builder.build().unwrap()
}

#[test]
fn what_keeps_vms_from_being_made_is_told_and_the_pool_recovers_when_it_is_gone() {
    let home = Home::new();
    let libexec = home.scratch().join("libexec");
    let image = runtime_with_copies(&home, &libexec).pull(&home.image("busybox"));
    let pool = image
        .unwrap()
        .pool()
        .min(0)
        .max(2)
        .acquire_timeout(LONG)
        .build()
        .unwrap();
    pool.acquire().unwrap().release();
    let (vmm, away) = (libexec.join("supermachine-vmm"), libexec.join("away"));
    // What was made already may go out; then nothing can be.
    fs::rename(&vmm, &away).unwrap();
    let mut held = Vec::new();
    let error = loop {
        match pool.acquire() {
            Ok(vm) => held.push(vm),
            Err(error) => break error,
        }
        assert!(held.len() <= 2, "VMs without a VMM");
    };
    let Error::Shared(cause) = &error else {
        panic!("{error:?}")
    };
    assert!(cause.to_string().contains("supermachine-vmm"), "{cause}");
    drop(held);
    fs::rename(&away, &vmm).unwrap();
    let vm = pool.acquire().unwrap();
    assert_eq!(say(&vm, "echo back"), "back\n");
    assert!(pool.stats().failed > 0);
}

#[test]
fn a_pool_that_does_not_restore_gives_the_same_vm_again_unless_it_is_not_well() {
    let home = Home::new();
    let pool = pool(&home)
        .min(1)
        .max(1)
        .restore_on_release(false)
        .build()
        .unwrap();
    let vm = pool.acquire().unwrap();
    say(&vm, "echo kept > /file");
    let name = vm.name().to_owned();
    vm.release();
    let vm = pool.acquire().unwrap();
    assert_eq!(
        (say(&vm, "cat /file"), vm.name()),
        ("kept\n".to_owned(), name.as_str())
    );
    kill(vmms_of(&home)[0]);
    vm.release();
    let vm = pool.acquire().unwrap();
    assert_eq!(say(&vm, "ls /file"), "");
    say(&vm, "echo kept > /file");
    vm.discard();
    assert_eq!(say(&pool.acquire().unwrap(), "ls /file"), "");
}

#[test]
fn bounds_and_configurations_that_cannot_be_are_refused() {
    let home = Home::new();
    let image = image(&home, "busybox");
    for (min, max) in [(0, 0), (3, 2)] {
        let error = image.pool().min(min).max(max).build().unwrap_err();
        assert!(
            matches!(error, Error::Pool(PoolError::Bounds { .. })),
            "{error:?}"
        );
    }
    let named = image.pool().config(VmConfig::new().name("one")).build();
    assert!(matches!(named, Err(Error::Pool(PoolError::Config(_)))));
}
