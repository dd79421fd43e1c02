//! The VMM as a process: its conversation with the library, and guests of a few bytes on real KVM.

use crate::common::{CONSOLE, RESET, Vmm, kernel, print};
use proto::control::{Command, Disk, DiskMode, End, Event, KernelFlavor, Step};

/// Everything up to the end, which must be a failure of `step`; returns its message.
fn failure(vmm: &Vmm, step: Step) -> String {
    loop {
        match vmm.event().expect("the VMM left without a word") {
            Event::Ended(End::Failed {
                step: failed,
                message,
            }) => {
                assert_eq!(failed, step, "{message}");
                return message;
            }
            Event::Ended(end) => panic!("{end:?}"),
            _ => {}
        }
    }
}

fn ends_by_reset(vmm: &Vmm) {
    loop {
        match vmm.event().expect("the VMM left without a word") {
            Event::Ended(end) => return assert_eq!(end, End::GuestReset),
            Event::Running { .. } => {}
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_guest_of_a_few_bytes_prints_and_resets() {
    let vmm = Vmm::spawn();
    vmm.boot(
        &kernel(
            &[
                &CONSOLE[..],
                &print(b'h'),
                &print(b'i'),
                &print(b'\n'),
                &RESET,
            ]
            .concat(),
        ),
        |_| {},
    );
    ends_by_reset(&vmm);
    assert_eq!(vmm.console_text(), "hi\n");
}

#[test]
fn a_line_without_end_is_not_lost() {
    let vmm = Vmm::spawn();
    vmm.boot(
        &kernel(&[&CONSOLE[..], &print(b'x'), &RESET].concat()),
        |_| {},
    );
    ends_by_reset(&vmm);
    assert_eq!(vmm.console_text(), "x");
}

#[test]
fn the_guest_reads_device_registers_from_memory() {
    // mov eax, [0xd0000000 + 4 * i]; out dx, eax's bytes: magic "virt", read without an exit.
    let mut code = CONSOLE.to_vec();
    code.extend([0xa1, 0, 0, 0, 0xd0]);
    for _ in 0..4 {
        // out dx, al; shr eax, 8
        code.extend([0xee, 0xc1, 0xe8, 8]);
    }
    code.extend(RESET);
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&code), |_| {});
    ends_by_reset(&vmm);
    assert_eq!(vmm.console_text(), "virt");
}

#[test]
fn a_write_to_a_register_changes_what_the_next_read_finds() {
    // queue selector := 9 (no such queue); print the queue's maximum size, then of queue 0.
    let mut code = CONSOLE.to_vec();
    for selected in [9_u8, 0] {
        // mov dword [0xd0000030], selected; mov eax, [0xd0000034]; shr eax, 4; add al, '0'; out dx, al
        code.extend([0xc7, 0x05, 0x30, 0, 0, 0xd0, selected, 0, 0, 0]);
        code.extend([0xa1, 0x34, 0, 0, 0xd0, 0xc1, 0xe8, 4, 0x04, b'0', 0xee]);
    }
    code.extend(RESET);
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&code), |_| {});
    ends_by_reset(&vmm);
    let text = vmm.console_text();
    assert!(
        text.starts_with('0') && text.len() == 2 && !text.ends_with('0'),
        "{text:?}"
    );
}

#[test]
fn a_paused_guest_stands_still_and_goes_on_when_resumed() {
    // 1: out dx, al (a newline, so that each reaches the log); jmp 1b
    let vmm = Vmm::spawn();
    vmm.boot(
        &kernel(&[&CONSOLE[..], &[0xb0, b'\n', 0xee, 0xeb, 0xfd]].concat()),
        |_| {},
    );
    assert!(matches!(vmm.event(), Some(Event::Running { .. })));
    let paused = |vmm: &Vmm| {
        vmm.send(&Command::Pause, &[]);
        assert_eq!(vmm.event(), Some(Event::Paused));
        vmm.console_text().len()
    };
    for _ in 0..20 {
        let before = paused(&vmm);
        assert_eq!(paused(&vmm), before, "the guest ran while it was paused");
        let mut after = before;
        while after == before {
            vmm.send(&Command::Resume, &[]);
            assert_eq!(vmm.event(), Some(Event::Resumed));
            after = paused(&vmm);
        }
    }
    assert!(vmm.close().success());
}

#[test]
fn the_vmm_ends_when_its_library_does() {
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&[0xeb, 0xfe]), |_| {});
    assert!(matches!(vmm.event(), Some(Event::Running { .. })));
    assert!(vmm.close().success());
    assert!(Vmm::spawn().close().success());
}

#[test]
fn an_instruction_kvm_cannot_emulate_is_named() {
    // fwait: hardware runs it; a software KVM emulates kernel mode and has no idea.
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&[&[0x9b][..], &RESET].concat()), |_| {});
    match vmm.event() {
        Some(Event::Running {
            kernel: KernelFlavor::Standard,
            ..
        }) => {
            assert_eq!(vmm.event(), Some(Event::Ended(End::GuestReset)));
        }
        Some(Event::Running { .. }) => {
            let message = failure(&vmm, Step::Vcpu);
            assert!(
                message.contains("at address 0x100000") && message.contains(": 9b"),
                "{message}"
            );
        }
        event => panic!("{event:?}"),
    }
}

#[test]
fn what_is_no_kernel_is_refused() {
    let vmm = Vmm::spawn();
    vmm.boot(&crate::common::file(b"#!/bin/sh\n"), |_| {});
    assert!(failure(&vmm, Step::Kernel).contains("cannot load the kernel"));
}

#[test]
fn a_machine_too_small_for_its_kernel_says_how_much_it_needs() {
    let vmm = Vmm::spawn();
    let code = vec![0x90; 3 << 20];
    vmm.boot(&kernel(&code), |boot| boot.memory_mib = 4);
    let message = failure(&vmm, Step::Kernel);
    assert!(message.contains("4 MiB of memory are too few"), "{message}");
}

#[test]
fn without_the_kernel_this_host_needs_the_error_names_it() {
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&RESET), |boot| boot.kernels.clear());
    let message = failure(&vmm, Step::Kernel);
    assert!(
        message.contains("kernel-") && message.contains("supermachine setup"),
        "{message}"
    );
}

#[test]
fn impossible_numbers_of_cpus_are_refused() {
    for vcpus in [0, 33] {
        let vmm = Vmm::spawn();
        vmm.boot(&kernel(&RESET), |boot| boot.vcpus = vcpus);
        assert!(failure(&vmm, Step::Config).contains("1 to 32"));
    }
}

#[test]
fn a_software_kvm_says_that_it_has_one_cpu() {
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&RESET), |boot| boot.vcpus = 2);
    loop {
        match vmm.event().expect("the VMM left without a word") {
            Event::Running { kernel, .. } => assert_eq!(kernel, KernelFlavor::Standard),
            Event::Ended(End::GuestReset) => return,
            Event::Ended(End::Failed { step, message }) => {
                assert_eq!(step, Step::Config);
                return assert!(
                    message.contains("software KVM") && message.contains("--cpus 1"),
                    "{message}"
                );
            }
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_library_of_another_version_is_refused() {
    let vmm = Vmm::spawn();
    vmm.boot(&kernel(&RESET), |boot| boot.version = 999);
    assert!(failure(&vmm, Step::Protocol).contains("version 999"));
}

#[test]
fn nonsense_and_messages_out_of_order_end_the_vmm_with_a_reason() {
    let vmm = Vmm::spawn();
    vmm.send_bytes(&[0xff; 100], &[]);
    failure(&vmm, Step::Protocol);

    let vmm = Vmm::spawn();
    vmm.send(&Command::Connect { port: 1 }, &[]);
    assert!(failure(&vmm, Step::Protocol).contains("before a boot"));

    let vmm = Vmm::spawn();
    vmm.send(
        &Command::SetDisk(Disk {
            slot: 200,
            mode: DiskMode::Durable,
            shape: proto::control::DiskShape::Concatenated,
            pieces: vec![],
            more: false,
        }),
        &[],
    );
    assert!(failure(&vmm, Step::Protocol).contains("no disk slot 200"));

    let vmm = Vmm::spawn();
    vmm.send(
        &Command::SetDisk(Disk {
            slot: 1,
            mode: DiskMode::Durable,
            shape: proto::control::DiskShape::Concatenated,
            pieces: vec![512],
            more: false,
        }),
        &[],
    );
    assert!(failure(&vmm, Step::Protocol).contains("0 descriptors"));
}
