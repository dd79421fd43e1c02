use super::*;
use serde_json::{Value, json};
use std::collections::HashMap;

fn digest(seed: &str) -> Digest {
    Digest::of(seed.as_bytes())
}

fn entry(media_type: &str, seed: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest(seed), "size": 7})
}

fn image(config_type: &str, layer_type: &str) -> Value {
    json!({"schemaVersion": 2, "config": entry(config_type, "config"), "layers": [entry(layer_type, "layer")]})
}

fn parse(document: &Value, declared: Option<&str>) -> Result<Document, ManifestError> {
    Document::parse(document.to_string().as_bytes(), declared)
}

#[test]
fn oci_and_docker_manifests_read_the_same() {
    let docker = image(
        DOCKER_CONFIG,
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    );
    let oci = image(OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd");
    for document in [docker, oci] {
        for declared in [
            None,
            Some(OCI_MANIFEST),
            Some(DOCKER_MANIFEST),
            Some("application/json; charset=utf-8"),
        ] {
            let Document::Manifest(manifest) = parse(&document, declared).unwrap() else {
                panic!("not a manifest")
            };
            assert_eq!(manifest.config.digest, digest("config"));
            assert_eq!(manifest.layers.len(), 1);
        }
    }
}

#[test]
fn indexes_and_lists_read_the_same_and_null_is_empty() {
    let mut platform = entry(OCI_MANIFEST, "amd64");
    platform["platform"] = json!({"os": "linux", "architecture": "amd64", "os.features": ["x"]});
    for media_type in [OCI_INDEX, DOCKER_LIST] {
        let document =
            json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [platform]});
        let Document::Index(entries) = parse(&document, None).unwrap() else {
            panic!("not an index")
        };
        assert_eq!(
            entries[0].platform,
            Some(Platform::new("linux", "amd64", ""))
        );
    }
    let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null});
    assert_eq!(parse(&empty, None).unwrap(), Document::Index(Vec::new()));
    let no_layers = json!({"config": entry(OCI_CONFIG, "config"), "layers": null});
    assert!(
        matches!(parse(&no_layers, None).unwrap(), Document::Manifest(m) if m.layers.is_empty())
    );
}

#[test]
fn unknown_fields_and_odd_annotations_do_not_matter() {
    let mut document = image(OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+gzip");
    document["annotations"] = json!({"a": 1});
    document["subject"] = json!({"x": []});
    document["layers"][0]["annotations"] = json!({"b": null, "c": {"d": 2}});
    document["layers"][0]["urls"] = json!(null);
    assert!(parse(&document, None).is_ok());
}

#[test]
fn what_is_no_image_says_what_it_is() {
    let schema1 = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    assert!(matches!(parse(&schema1, None), Err(ManifestError::Schema1)));
    let signed = Some("application/vnd.docker.distribution.manifest.v1+prettyjws");
    assert!(matches!(
        parse(&json!({}), signed),
        Err(ManifestError::Schema1)
    ));
    let chart = image("application/vnd.cncf.helm.config.v1+json", "application/x");
    assert!(
        matches!(parse(&chart, None), Err(ManifestError::Artifact { media_type }) if media_type.contains("helm"))
    );
    let encrypted = image(
        OCI_CONFIG,
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
    );
    assert!(matches!(
        parse(&encrypted, None),
        Err(ManifestError::LayerType { .. })
    ));
    assert!(matches!(
        parse(&json!({"errors": []}), None),
        Err(ManifestError::Unknown { .. })
    ));
    assert!(matches!(
        Document::parse(b"<html>", None),
        Err(ManifestError::Html)
    ));
    assert!(matches!(
        Document::parse(b"sorry", Some("text/html; charset=utf-8")),
        Err(ManifestError::Html)
    ));
    assert!(matches!(
        Document::parse(b"{", None),
        Err(ManifestError::Json(_))
    ));
    assert!(matches!(
        Document::parse(b"[]", None),
        Err(ManifestError::Json(_))
    ));
}

#[test]
fn documents_with_two_readings_are_refused() {
    let mut both = image(OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar");
    both["manifests"] = json!([]);
    assert!(matches!(parse(&both, None), Err(ManifestError::Ambiguous)));
    let mislabeled = image(OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar");
    assert!(matches!(
        parse(&mislabeled, Some(OCI_INDEX)),
        Err(ManifestError::Ambiguous)
    ));
    let index = json!({"mediaType": DOCKER_MANIFEST, "manifests": []});
    assert!(matches!(parse(&index, None), Err(ManifestError::Ambiguous)));
}

#[test]
fn digests_and_sizes_must_be_sound() {
    for (field, value) in [
        ("digest", json!("sha256:12")),
        ("digest", json!("../../etc/passwd")),
    ] {
        let mut document = image(OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar");
        document["layers"][0][field] = value;
        assert!(matches!(
            parse(&document, None),
            Err(ManifestError::Digest { .. })
        ));
    }
    for value in [json!(-1), json!("7"), json!(1.5), json!(null)] {
        let mut document = image(OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar");
        document["layers"][0]["size"] = value;
        assert!(matches!(
            parse(&document, None),
            Err(ManifestError::Json(_))
        ));
    }
    let many: Vec<Value> = (0..=LAYER_LIMIT)
        .map(|n| entry("application/vnd.oci.image.layer.v1.tar", &n.to_string()))
        .collect();
    let document = json!({"config": entry(OCI_CONFIG, "c"), "layers": many});
    assert!(matches!(
        parse(&document, None),
        Err(ManifestError::TooMany { what: "layers", .. })
    ));
}

/// A registry in memory: documents and the platforms of configs.
#[derive(Default)]
struct Shelf {
    documents: HashMap<Digest, Vec<u8>>,
    platforms: HashMap<Digest, Platform>,
    reads: usize,
}

impl Shelf {
    /// Puts an image there whose config states a platform, and returns its entry.
    fn image(&mut self, name: &str, platform: &str) -> Value {
        let config = digest(&format!("config of {name}"));
        self.platforms.insert(config, platform.parse().unwrap());
        let layer = entry("application/vnd.oci.image.layer.v1.tar", name);
        let config = json!({"mediaType": OCI_CONFIG, "digest": config, "size": 1});
        self.put(
            OCI_MANIFEST,
            &json!({"schemaVersion": 2, "config": config, "layers": [layer]}),
        )
    }

    fn index(&mut self, entries: &[Value]) -> Value {
        self.put(
            OCI_INDEX,
            &json!({"schemaVersion": 2, "manifests": entries}),
        )
    }

    fn put(&mut self, media_type: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        self.documents.insert(digest, bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn select(&mut self, entry: &Value, wanted: &str) -> Result<Selected, ManifestError> {
        let digest: Digest = serde_json::from_value(entry["digest"].clone()).unwrap();
        let start = self.fetch(&digest)?;
        self.reads = 0;
        select(start, &wanted.parse().unwrap(), self)
    }

    fn fetch(&mut self, digest: &Digest) -> Result<Fetched, ManifestError> {
        self.reads += 1;
        let bytes = self.documents[digest].clone();
        let document = Document::parse(&bytes, None)?;
        Ok(Fetched {
            digest: *digest,
            bytes,
            document,
        })
    }
}

impl Documents for Shelf {
    type Error = ManifestError;

    fn document(&mut self, descriptor: &Descriptor) -> Result<Fetched, ManifestError> {
        self.fetch(&descriptor.digest)
    }

    fn config_platform(&mut self, config: &Descriptor) -> Result<Option<Platform>, ManifestError> {
        Ok(self.platforms.get(&config.digest).cloned())
    }
}

fn on(mut entry: Value, os: &str, architecture: &str) -> Value {
    entry["platform"] = json!({"os": os, "architecture": architecture});
    entry
}

#[test]
fn the_entry_for_the_platform_is_chosen_and_nothing_else_is_read() {
    let mut shelf = Shelf::default();
    let arm = on(shelf.image("arm", "linux/arm64"), "linux", "arm64");
    let amd = on(shelf.image("amd", "linux/amd64"), "linux", "amd64");
    let attestation = on(
        shelf.image("attestation", "unknown/unknown"),
        "unknown",
        "unknown",
    );
    let index = shelf.index(&[arm.clone(), attestation, amd.clone()]);
    let found = shelf.select(&index, "linux/amd64").unwrap();
    assert_eq!(json!(found.digest), amd["digest"]);
    assert_eq!(shelf.reads, 1);
    assert_eq!(
        json!(shelf.select(&index, "linux/arm64").unwrap().digest),
        arm["digest"]
    );
}

#[test]
fn nested_indexes_and_entries_without_platform_are_followed() {
    let mut shelf = Shelf::default();
    let arm = shelf.image("arm", "linux/arm64");
    let amd = shelf.image("amd", "linux/amd64");
    let inner = shelf.index(&[arm, amd.clone()]);
    let outer = shelf.index(&[inner]);
    assert_eq!(
        json!(shelf.select(&outer, "linux/amd64").unwrap().digest),
        amd["digest"]
    );
}

#[test]
fn an_image_for_another_cpu_names_what_is_there() {
    let mut shelf = Shelf::default();
    let arm = on(shelf.image("arm", "linux/arm64"), "linux", "arm64");
    let s390x = shelf.image("s390x", "linux/s390x");
    let index = shelf.index(&[arm, s390x]);
    let error = shelf.select(&index, "linux/amd64").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image has no variant for linux/amd64; it is there for linux/arm64, linux/s390x"
    );
    let empty = shelf.index(&[]);
    assert!(matches!(
        shelf.select(&empty, "linux/amd64"),
        Err(ManifestError::Platform { .. })
    ));
}

#[test]
fn a_labyrinth_of_indexes_has_an_end() {
    let mut shelf = Shelf::default();
    let mut index = shelf.index(&[]);
    for _ in 0..100 {
        index = shelf.index(&[index]);
    }
    assert!(matches!(
        shelf.select(&index, "linux/amd64"),
        Err(ManifestError::TooDeep { .. })
    ));
}
