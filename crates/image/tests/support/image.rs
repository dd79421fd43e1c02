//! Images made by hand.
use ::image::Digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
    Plain,
    /// Two gzip members, as `pigz` and eStargz write them.
    GzipTwice,
}

impl Packing {
    pub fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Packing::Plain => tar.to_vec(),
            Packing::Gzip => gzip(tar),
            Packing::Zstd => zstd::bulk::compress(tar, 1).unwrap(),
            Packing::GzipTwice => {
                let (a, b) = tar.split_at(tar.len() / 2);
                [gzip(a), gzip(b)].concat()
            }
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gzip | Packing::GzipTwice => "+gzip",
            Packing::Zstd => "+zstd",
        }
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A tar archive of files.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image: its manifest and all blobs.
#[derive(Clone)]
pub struct TestImage {
    pub manifest: Vec<u8>,
    pub media_type: &'static str,
    pub config: Vec<u8>,
    pub tars: Vec<Vec<u8>>,
    pub layers: Vec<Vec<u8>>,
}

impl TestImage {
    /// An image for linux/amd64 of these tar archives.
    pub fn new(tars: &[Vec<u8>], packing: Packing) -> Self {
        Self::for_platform("linux", "amd64", tars, packing)
    }

    pub fn for_platform(os: &str, architecture: &str, tars: &[Vec<u8>], packing: Packing) -> Self {
        let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
        let config = json!({
            "architecture": architecture, "os": os,
            "config": {"Cmd": ["/bin/true"], "Env": ["A=b c"], "User": "1000:1000"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self::with_config(config.to_string().into_bytes(), tars, packing)
    }

    pub fn with_config(config: Vec<u8>, tars: &[Vec<u8>], packing: Packing) -> Self {
        let layers: Vec<Vec<u8>> = tars.iter().map(|tar| packing.pack(tar)).collect();
        let layer_type = format!("application/vnd.oci.image.layer.v1.tar{}", packing.suffix());
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config),
            "layers": layers.iter().map(|layer| descriptor(&layer_type, layer)).collect::<Vec<_>>(),
        });
        manifest["annotations"] = json!({"org.example.test": "yes"});
        Self {
            manifest: manifest.to_string().into_bytes(),
            media_type: OCI_MANIFEST,
            config,
            tars: tars.to_vec(),
            layers,
        }
    }

    /// A small image with one layer.
    pub fn small() -> Self {
        Self::new(&[tar(&[("hello", b"hello\n")])], Packing::Gzip)
    }

    /// An image of `count` layers of `len` bytes that do not compress.
    pub fn noisy(count: u64, len: usize) -> Self {
        let tars: Vec<_> = (0..count)
            .map(|n| tar(&[(&format!("file-{n}"), &noise(n + 1, len))]))
            .collect();
        Self::new(&tars, Packing::Gzip)
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The entry of this image in an index.
    pub fn entry(&self) -> Value {
        descriptor(self.media_type, &self.manifest)
    }

    pub fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        let all = self.layers.iter().chain([&self.config]);
        all.map(|blob| (Digest::of(blob), blob.clone())).collect()
    }

    /// Writes an OCI layout with this image under a tag.
    pub fn write_layout(&self, dir: &Path, tag: &str) {
        let mut entry = self.entry();
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        write_layout(dir, &[self], &[entry]);
    }
}

pub fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(blob), "size": blob.len()})
}

/// Writes an OCI layout with these images, and this `index.json`.
pub fn write_layout(dir: &Path, images: &[&TestImage], entries: &[Value]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(
        dir.join("index.json"),
        json!({"schemaVersion": 2, "manifests": entries}).to_string(),
    )
    .unwrap();
    for image in images {
        for (digest, blob) in image.blobs() {
            fs::write(blobs.join(digest.hex()), blob).unwrap();
        }
        fs::write(blobs.join(image.digest().hex()), &image.manifest).unwrap();
    }
}

/// A tar archive of a directory's files, with names relative to it.
pub fn tar_of_dir(dir: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", dir).unwrap();
    builder.into_inner().unwrap()
}
