//! The programs and rights a test needs. A missing one fails the test, saying what to do.

use std::process::{Command, Output};

/// Mounting, device nodes and foreign owners need root.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts file systems and makes devices: run it as root"
    );
}

/// Runs a program of a Debian package to its end and wants success.
pub fn run(package: &str, command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "cannot run {:?} ({error}): apt-get install {package}",
            command.get_program()
        );
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
