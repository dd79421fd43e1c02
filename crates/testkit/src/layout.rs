//! A copy of a test image's layout that a test may change or break.

use crate::{files, target};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// An OCI layout in a directory of the test's.
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Copies the layout of a test image into a new directory.
    pub fn copy_of(image: &str, dir: &Path) -> Self {
        let source = target::image(image);
        for path in files::list(&source) {
            let copy = dir.join(
                path.strip_prefix(&source)
                    .expect("the listing is below its directory"),
            );
            if path.is_dir() {
                fs::create_dir_all(copy).expect("make a directory");
            } else {
                fs::create_dir_all(copy.parent().expect("a copy has a parent"))
                    .expect("make a directory");
                fs::copy(&path, copy).expect("copy a blob");
            }
        }
        Self {
            dir: dir.to_path_buf(),
        }
    }

    /// Its reference for the command line.
    pub fn reference(&self) -> String {
        format!("oci:{}", self.dir.display())
    }

    /// Its blobs, which are named by the hexadecimal part of their digest.
    pub fn blobs(&self) -> Vec<PathBuf> {
        files::list(&self.dir.join("blobs").join("sha256"))
    }

    /// Replaces the image's configuration, and everything that names it by digest.
    pub fn edit_config(&self, edit: impl FnOnce(&mut Value)) {
        let mut index = self.read_json(&self.dir.join("index.json"));
        let mut manifest = self.read_blob(&index["manifests"][0]);
        let mut config = self.read_blob(&manifest["config"]);
        edit(&mut config);
        self.replace(&mut manifest["config"], &config);
        self.replace(&mut index["manifests"][0], &manifest);
        if let Some(descriptor) = index["manifests"][0].as_object_mut() {
            descriptor.remove("platform");
        }
        fs::write(self.dir.join("index.json"), index.to_string()).expect("write the index");
    }

    fn read_blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"]
            .as_str()
            .expect("a descriptor has a digest");
        let hex = digest
            .strip_prefix("sha256:")
            .expect("our images use SHA-256");
        self.read_json(&self.dir.join("blobs").join("sha256").join(hex))
    }

    fn read_json(&self, path: &Path) -> Value {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn replace(&self, descriptor: &mut Value, contents: &Value) {
        let bytes = contents.to_string().into_bytes();
        let hex = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").expect("a String takes everything");
                hex
            });
        descriptor["digest"] = json!(format!("sha256:{hex}"));
        descriptor["size"] = json!(bytes.len());
        fs::write(self.dir.join("blobs").join("sha256").join(hex), bytes).expect("write a blob");
    }
}
