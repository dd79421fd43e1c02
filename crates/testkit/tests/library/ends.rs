//! How VMs end that nobody asked to.

use crate::{idle_vm, image, runtime, shell};
use rustix::process::{Pid, Signal, kill_process};
use supermachine::{Error, Retention, VmConfig, VmStatus, VmmError};
use testkit::{Home, Processes};

/// The VM's own error, however deep.
fn vmm_error(error: &Error) -> &VmmError {
    match error {
        Error::Vmm(error) => error,
        Error::Shared(error) => vmm_error(error),
        other => panic!("not an error of the VMM: {other:?}"),
    }
}

#[test]
fn guest_14_a_kernel_panic_is_a_typed_error_with_the_last_console_lines() {
    let home = Home::new();
    let config = VmConfig::new().retention(Retention::Keep).name("doomed");
    let vm = shell(&home, config, "sleep 1000");
    // 2 means: panic even if only a cgroup is out of memory.
    let script = "echo 2 > /proc/sys/vm/panic_on_oom && tail /dev/zero";
    let error = vm.exec(["sh", "-c", script]).unwrap_err();
    assert!(
        matches!(vmm_error(&error), VmmError::GuestPanicked { .. }),
        "{error:?}"
    );
    let error = vm.wait().unwrap_err();
    let VmmError::GuestPanicked { reason, console } = vmm_error(&error) else {
        panic!("{error:?}")
    };
    assert!(
        reason.contains("Out of memory") && console.contains("Kernel panic"),
        "{reason}: {console}"
    );
    drop(vm);
    let status = runtime(&home).vm_summary("doomed").unwrap().status;
    assert!(matches!(status, VmStatus::Failed { message, .. } if message.contains("panicked")));
    home.assert_nothing_left();
}

/// The VMM that holds files of this home open.
pub(crate) fn vmm_of(home: &Home) -> Pid {
    let holds = |pid: &Pid| {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
        let mut targets = descriptors.map(|entry| std::fs::read_link(entry.unwrap().path()));
        targets.any(|target| target.is_ok_and(|target| target.starts_with(home.path())))
    };
    Processes::of_this_test()
        .vmms()
        .into_iter()
        .find(holds)
        .unwrap()
}

#[test]
fn a_killed_vmm_is_a_typed_error_with_its_signal() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let child = vm.exec_builder().argv(["sleep", "1000"]).spawn().unwrap();
    child.pid().unwrap();
    kill_process(vmm_of(&home), Signal::KILL).unwrap();
    let error = child.wait().unwrap_err();
    assert!(
        matches!(vmm_error(&error), VmmError::Died { how, .. } if how.contains("signal 9")),
        "{error:?}"
    );
    let error = vm.exec(["true"]).unwrap_err();
    assert!(
        matches!(vmm_error(&error), VmmError::Died { .. }),
        "{error:?}"
    );
    drop((child, vm));
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}

#[test]
fn a_dropped_handle_leaves_no_process_and_no_record() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let name = vm.name().to_owned();
    assert_eq!(runtime(&home).vms().unwrap()[0].name, name);
    drop(vm);
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}

#[test]
fn a_full_disk_is_an_error_of_the_start_and_leaves_nothing() {
    let home = Home::with_disk_of(6 << 20);
    let image = image(&home, "busybox");
    let free = home.path().join("filler");
    let filled = std::fs::write(&free, vec![0; 16 << 20]);
    assert!(filled.is_err(), "the disk should be full now");
    let error = image.start(&VmConfig::new()).unwrap_err();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    assert!(chain.contains("No space left"), "{chain}");
    std::fs::remove_file(free).unwrap();
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}
