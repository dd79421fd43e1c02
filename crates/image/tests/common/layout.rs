//! An OCI image layout of uncompressed layers, and what `umoci` makes of it.

use super::manifest::{self, Manifest};
use super::tools::{require_root, run};
use image::digest::Digest;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Writes a layout with one image, tagged `test`.
pub fn write(directory: &Path, layers: &[Vec<u8>]) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let blob = |media_type: &str, content: &[u8]| {
        let digest = Digest::of(content);
        std::fs::write(blobs.join(digest.hex()), content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    };
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": layers.iter().map(|layer| blob(tar, layer)).collect::<Vec<_>>(),
    });
    let mut manifest = blob(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().as_bytes(),
    );
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "test"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// The tree that `umoci unpack` makes of these layers.
pub fn unpack(layers: &[Vec<u8>]) -> Manifest {
    require_root();
    let directory = tempfile::Builder::new()
        .prefix("image-umoci-")
        .tempdir()
        .unwrap();
    let (image, bundle) = (
        directory.path().join("image"),
        directory.path().join("bundle"),
    );
    write(&image, layers);
    let reference = format!("{}:test", image.display());
    run(
        "umoci",
        Command::new("umoci")
            .args(["unpack", "--image", &reference])
            .arg(&bundle),
    );
    manifest::of(&bundle.join("rootfs"))
}
