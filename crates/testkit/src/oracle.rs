//! Other people's tools, which judge us.

use std::path::Path;
use std::process::Command;

/// Runs skopeo and returns what it printed.
pub fn skopeo<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    run(Command::new("skopeo").arg("--insecure-policy").args(words))
}

/// Unpacks a layout with umoci; the tree is in `bundle/rootfs`.
pub fn umoci_unpack(layout: &Path, bundle: &Path) {
    run(Command::new("umoci")
        .arg("unpack")
        .arg("--image")
        .arg(format!("{}:latest", layout.display()))
        .arg(bundle));
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed ({}): {stderr}",
        output.status
    );
    String::from_utf8(output.stdout).expect("tools print text")
}
