//! Where images come from, and what is refused.

use std::path::Path;
use testkit::{Home, Layout, Registry, files, skopeo, target};

/// The root file system's digest, as the store of a fresh home has it.
fn root_digest(reference: &str) -> String {
    let home = Home::new();
    home.run(["pull", reference]).ok();
    let images: serde_json::Value =
        serde_json::from_str(home.run(["images", "--json"]).ok()).unwrap();
    images[0]["root"]
        .as_str()
        .unwrap_or_else(|| panic!("no root digest in {images}"))
        .to_owned()
}

#[test]
fn registry_archives_and_layout_give_the_same_root() {
    let registry = Registry::start();
    let temp = tempfile::tempdir().unwrap();
    let layout = format!("oci:{}", target::image("awkward").display());
    let oci = format!(
        "oci-archive:{}:latest",
        temp.path().join("oci.tar").display()
    );
    let docker = format!(
        "docker-archive:{}:awkward:latest",
        temp.path().join("docker.tar").display()
    );
    skopeo(["copy", &format!("{layout}:latest"), &oci]);
    skopeo(["copy", &format!("{layout}:latest"), &docker]);
    let expected = root_digest(&layout);
    assert_eq!(root_digest(&registry.push("awkward")), expected);
    assert_eq!(root_digest(&oci), expected);
    assert_eq!(root_digest(&docker), expected);
}

#[test]
fn a_flipped_bit_in_any_blob_is_refused_and_the_blob_named() {
    let temp = tempfile::tempdir().unwrap();
    let count = Layout::copy_of("awkward", &temp.path().join("whole"))
        .blobs()
        .len();
    for number in 0..count {
        let layout = Layout::copy_of("awkward", &temp.path().join(number.to_string()));
        let blob = &layout.blobs()[number];
        files::flip_a_bit(blob);
        let home = Home::new();
        let out = home.run(["pull", &layout.reference()]);
        assert_eq!(out.code, 125, "{}", blob.display());
        assert!(
            out.stderr.contains(name(blob)),
            "{} not named in: {}",
            blob.display(),
            out.stderr
        );
        assert_eq!(home.run(["images", "-q"]).ok(), "");
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("blobs have hexadecimal names")
}

#[test]
fn a_second_pull_reads_no_blob() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::copy_of("busybox", &temp.path().join("image"));
    let home = Home::new();
    home.run(["pull", &layout.reference()]).ok();
    let largest = layout
        .blobs()
        .into_iter()
        .max_by_key(|blob| blob.metadata().unwrap().len())
        .unwrap();
    std::fs::remove_file(largest).unwrap();
    assert_eq!(
        home.run(["run", "--rm", &layout.reference(), "echo", "kept"])
            .ok(),
        "kept\n"
    );
}

#[test]
fn an_image_for_another_cpu_is_refused_in_one_clear_line() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::copy_of("busybox", &temp.path().join("image"));
    layout.edit_config(|config| config["architecture"] = "arm64".into());
    let out = Home::new().run(["run", "--rm", &layout.reference(), "true"]);
    assert_eq!(out.code, 125);
    assert!(
        out.stderr.contains("arm64") && out.stderr.contains("amd64"),
        "{}",
        out.stderr
    );
}
