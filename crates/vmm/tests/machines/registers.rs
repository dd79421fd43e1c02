//! A program that holds a known value in every register (`xtask/src/images/registers.c`) as PID 1 of the guest kernel.

use crate::common::Vmm;
use proto::control::{Event, KernelFlavor};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How often the machine is written down and continued by a new process.
const ROUNDS: usize = 1000;
/// Saves that build upon each other before one holds everything again.
const LAYERS: usize = 8;
/// What the program says after every hundred of its own rounds.
const OK: &str = "ok ";

/// What the build left for us.
fn made(path: PathBuf, how: &str) -> File {
    File::open(&path).unwrap_or_else(|error| panic!("{}: {error}: run `{how}`", path.display()))
}

/// Boots the kernel this host needs with the program as PID 1.
fn boot() -> Vmm {
    let programs = Path::new(env!("CARGO_BIN_EXE_supermachine-vmm"))
        .parent()
        .unwrap();
    let initramfs = programs
        .with_file_name("test-images")
        .join("registers/initramfs");
    let initramfs = made(initramfs, "cargo xtask images registers");
    let vmm = Vmm::spawn();
    // An argument keeps the program from using the base of %gs, which a kernel that software KVM runs natively cannot keep.
    let probe = std::process::Command::new(env!("CARGO_BIN_EXE_supermachine-vmm"))
        .arg("--probe")
        .output()
        .unwrap();
    let probe = String::from_utf8(probe.stdout).unwrap();
    let flavors = [KernelFlavor::Standard, KernelFlavor::SoftwareKvm];
    let flavor = flavors
        .into_iter()
        .find(|flavor| probe.contains(flavor.name()))
        .unwrap();
    let kernel = made(
        programs.join(format!("kernel-{}", flavor.name())),
        "cargo xtask assets",
    );
    vmm.boot_with(&kernel, &initramfs, |boot| {
        boot.memory_mib = 64;
        boot.kernels = vec![flavor];
        if flavor == KernelFlavor::SoftwareKvm {
            boot.extra_cmdline = "-- leave-gs".into();
        }
    });
    running(&vmm);
    vmm
}

fn running(vmm: &Vmm) {
    let event = vmm.event();
    assert!(matches!(event, Some(Event::Running { .. })), "{event:?}");
}

/// A value that changed is told, and ends the guest.
fn assert_unnoticed(vmm: &Vmm) {
    let text = vmm.console_text();
    assert!(!text.contains("bad ") && !text.contains("panic"), "{text}");
}

/// It goes on after the last round, too: a hundred rounds of its own.
fn assert_alive(vmm: &Vmm) {
    vmm.wait_for_text(OK);
    vmm.pause();
    assert_unnoticed(vmm);
}

#[test]
fn every_register_survives_a_thousand_saves_and_restores() {
    let vmm = boot();
    vmm.wait_for_text(OK);
    vmm.pause();
    let mut saved = vmm.save(&[]);
    drop(vmm);
    for round in 0..ROUNDS {
        let copy = Vmm::restored(&saved);
        running(&copy);
        copy.pause();
        let below = if round % LAYERS == 0 {
            &[][..]
        } else {
            &saved.layers
        };
        saved = copy.save(below);
        assert_unnoticed(&copy);
    }
    let last = Vmm::restored(&saved);
    running(&last);
    assert_alive(&last);
}

#[test]
fn every_register_survives_a_thousand_forks_of_forks() {
    let mut vmm = boot();
    vmm.wait_for_text(OK);
    for _ in 0..ROUNDS {
        vmm.pause();
        let copy = vmm.fork();
        assert_unnoticed(&vmm);
        copy.go_on();
        vmm = copy;
    }
    assert_alive(&vmm);
}
