//! Writing an OCI image layout (image-spec: image-layout.md, manifest.md, config.md).

use crate::command::Run;
use crate::digest;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy)]
pub enum Compression {
    /// As it is.
    Plain,
    /// With `gzip`.
    Gzip,
    /// With `zstd`.
    Zstd,
}

/// A layout being written.
pub struct Layout {
    dir: PathBuf,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
}

impl Layout {
    /// An empty layout in a new directory.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("blobs").join("sha256"))
            .with_context(|| dir.display().to_string())?;
        Ok(Self {
            dir: dir.to_path_buf(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
        })
    }

    /// Adds the next layer above.
    pub fn layer(&mut self, tar: &[u8], compression: Compression) -> Result<()> {
        self.diff_ids
            .push(format!("sha256:{}", digest::of_bytes(tar)));
        let descriptor = match compression {
            Compression::Plain => self.blob("application/vnd.oci.image.layer.v1.tar", tar)?,
            Compression::Gzip => {
                let bytes = Command::new("gzip")
                    .args(["--no-name", "--stdout"])
                    .filter(tar)?;
                self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &bytes)?
            }
            Compression::Zstd => {
                let bytes = Command::new("zstd")
                    .args(["--quiet", "--stdout"])
                    .filter(tar)?;
                self.blob("application/vnd.oci.image.layer.v1.tar+zstd", &bytes)?
            }
        };
        self.layers.push(descriptor);
        Ok(())
    }

    /// Writes what ties the layers together, tagged `latest`. `config` is the part of the image's
    /// configuration that says what to run and how.
    pub fn finish(self, config: &Value) -> Result<()> {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        )?;
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": self.layers});
        let mut manifest = self.blob(manifest_type, manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(self.dir.join("index.json"), index.to_string())?;
        fs::write(
            self.dir.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )?;
        Ok(())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let hex = digest::of_bytes(bytes);
        let path = self.dir.join("blobs").join("sha256").join(&hex);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()}))
    }
}
