//! What tests need of the machine.

use std::fs::File;
use std::io::ErrorKind;

/// Panics, with what to do, unless VMs can run here.
pub fn require_kvm() {
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "these tests start VMs and /dev/kvm does not exist: enable virtualization, load kvm_intel or kvm_amd"
            )
        }
        Err(error) => panic!("these tests start VMs and /dev/kvm cannot be opened: {error}"),
    }
}

/// Panics unless the tests run as root, who can become somebody else.
pub fn require_root() {
    let uid = rustix::process::getuid();
    assert!(
        uid.is_root(),
        "this test becomes other users and mounts in a namespace of its own: run it as root"
    );
}
