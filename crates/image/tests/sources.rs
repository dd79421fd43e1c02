//! Layouts, archives and directories as sources of images.
mod support;

use image::{
    BlobError, Digest, DockerArchiveError, ImageRef, LayoutError, ManifestError, PullError,
    PullPolicy, SourceError,
};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::image::{Packing, TestImage, gzip, noise, tar, tar_of_dir, write_layout};
use support::tools::{Bench, explain, files_below};

fn source_error(error: PullError) -> SourceError {
    match error {
        PullError::Source { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}

fn layout_error(error: PullError) -> LayoutError {
    match source_error(error) {
        SourceError::Layout(error) => error,
        other => panic!("{}", explain(&other)),
    }
}

fn archive_error(error: PullError) -> DockerArchiveError {
    match source_error(error) {
        SourceError::DockerArchive(error) => error,
        other => panic!("{}", explain(&other)),
    }
}

fn tagged(image: &TestImage, tag: &str) -> Value {
    let mut entry = image.entry();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    entry
}

#[test]
fn the_only_image_then_latest_then_an_error_that_lists_the_tags() {
    let bench = Bench::new();
    let (one, two) = (TestImage::small(), TestImage::noisy(1, 100));
    let dir = |name: &str, entries: &[Value]| {
        let path = bench.path(name);
        write_layout(&path, &[&one, &two], entries);
        format!("oci:{}", path.display())
    };
    let only = dir("only", &[one.entry()]);
    assert_eq!(bench.pull(&only).unwrap().digest, one.digest());
    let latest = dir("latest", &[tagged(&one, "v1"), tagged(&two, "latest")]);
    assert_eq!(bench.pull(&latest).unwrap().digest, two.digest());
    let several = dir(
        "several",
        &[tagged(&one, "v1"), tagged(&two, "v2"), two.entry()],
    );
    let error = layout_error(bench.pull(&several).unwrap_err());
    assert!(
        matches!(&error, LayoutError::Several { available, .. } if available == "v1, v2 and untagged images"),
        "{error}"
    );
    assert_eq!(
        bench.pull(&format!("{several}:v1")).unwrap().digest,
        one.digest()
    );
    assert_eq!(
        bench
            .pull(&format!("{several}@{}", two.digest()))
            .unwrap()
            .digest,
        two.digest()
    );
    let error = layout_error(bench.pull(&format!("{several}:v3")).unwrap_err());
    assert!(
        matches!(&error, LayoutError::NoSuchImage { available, .. } if available.contains("v1, v2")),
        "{error}"
    );
    let by_full_name = {
        let mut entry = one.entry();
        entry["annotations"] = json!({"io.containerd.image.name": "docker.io/library/x:1"});
        dir("containerd", &[entry, two.entry()])
    };
    assert_eq!(
        bench
            .pull(&format!("{by_full_name}:docker.io/library/x:1"))
            .unwrap()
            .digest,
        one.digest()
    );
    let none = dir("none", &[]);
    assert!(matches!(
        layout_error(bench.pull(&none).unwrap_err()),
        LayoutError::Empty { .. }
    ));
}

#[test]
fn entries_for_several_platforms_are_one_image() {
    let bench = Bench::new();
    let amd = TestImage::small();
    let arm = TestImage::for_platform("linux", "arm64", &[tar(&[("a", b"")])], Packing::Gzip);
    let on = |image: &TestImage, architecture: &str| {
        let mut entry = image.entry();
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let path = bench.path("both");
    write_layout(
        &path,
        &[&amd, &arm],
        &[on(&arm, "arm64"), on(&amd, "amd64")],
    );
    assert_eq!(
        bench
            .pull(&format!("oci:{}", path.display()))
            .unwrap()
            .digest,
        amd.digest()
    );
    let path = bench.path("arm");
    write_layout(&path, &[&arm], &[arm.entry()]);
    let error = source_error(bench.pull(&format!("oci:{}", path.display())).unwrap_err());
    assert!(
        matches!(&error, SourceError::Manifest(ManifestError::Platform { available, .. }) if available == "linux/arm64"),
        "{error}"
    );
}

#[test]
fn what_is_no_layout_says_so_and_what_it_might_be() {
    let bench = Bench::new();
    let empty = bench.path("empty");
    fs::create_dir(&empty).unwrap();
    let error = layout_error(bench.pull(&format!("oci:{}", empty.display())).unwrap_err());
    assert!(matches!(error, LayoutError::NotALayout { .. }));
    fs::write(empty.join("manifest.json"), "[]").unwrap();
    let error = layout_error(bench.pull(&format!("oci:{}", empty.display())).unwrap_err());
    assert!(error.to_string().contains("docker-archive:"), "{error}");
    let error = layout_error(
        bench
            .pull(&format!("oci:{}", bench.path("absent").display()))
            .unwrap_err(),
    );
    assert!(matches!(error, LayoutError::NotALayout { .. }));
    fs::write(
        empty.join("oci-layout"),
        r#"{"imageLayoutVersion": "2.0.0"}"#,
    )
    .unwrap();
    let error = layout_error(bench.pull(&format!("oci:{}", empty.display())).unwrap_err());
    assert!(
        matches!(&error, LayoutError::Version { version, .. } if version == "2.0.0"),
        "{error}"
    );
}

#[test]
fn flipped_bits_cut_files_and_missing_blobs_name_the_blob() {
    let image = TestImage::noisy(2, 20_000);
    let bench = Bench::new();
    let dir = bench.path("layout");
    let reference = format!("oci:{}", dir.display());
    let fails = |digest: &Digest, what: &str| {
        // A fresh store: a layer that came before the damaged one is kept, and not read again.
        let bench = Bench::new();
        let error = bench.pull(&reference).unwrap_err();
        let text = explain(&error);
        assert!(text.contains(&digest.to_string()), "{what}: {text}");
        assert!(bench.store.list().unwrap().is_empty(), "{what}");
        error
    };
    let everything = image
        .blobs()
        .into_iter()
        .chain([(image.digest(), image.manifest.clone())]);
    for (digest, blob) in everything {
        image.write_layout(&dir, "latest");
        let path = dir.join("blobs/sha256").join(digest.hex());
        for at in [0, blob.len() / 3, blob.len() - 1] {
            let mut bad = blob.clone();
            bad[at] ^= 0x40;
            fs::write(&path, bad).unwrap();
            fails(&digest, "flipped");
        }
        fs::write(&path, &blob[..blob.len() - 1]).unwrap();
        fails(&digest, "cut");
        fs::write(&path, [&blob[..], b"x"].concat()).unwrap();
        fails(&digest, "longer");
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            layout_error(fails(&digest, "missing")),
            LayoutError::MissingBlob { .. }
        ));
    }
    image.write_layout(&dir, "latest");
    bench.pull(&reference).unwrap();
}

#[test]
fn a_layer_that_expands_beyond_the_limit_is_refused() {
    let mut bench = Bench::new();
    bench.options.limits.max_stream_bytes = 1 << 20;
    for packing in [Packing::Gzip, Packing::Zstd] {
        let image = TestImage::new(&[tar(&[("zeros", &vec![0; 8 << 20])])], packing);
        let dir = bench.path(&format!("{packing:?}"));
        image.write_layout(&dir, "latest");
        let error = bench.pull(&format!("oci:{}", dir.display())).unwrap_err();
        let layer = Digest::of(&image.layers[0]);
        assert!(
            explain(&error).contains(&layer.to_string()),
            "{}",
            explain(&error)
        );
        assert!(files_below(&bench.path("home/tmp")).is_empty());
    }
}

#[test]
fn a_layout_is_looked_at_every_time_and_no_blob_is_read_twice() {
    let mut bench = Bench::new();
    let (first, second) = (TestImage::small(), TestImage::noisy(1, 100));
    let dir = bench.path("layout");
    first.write_layout(&dir, "latest");
    let reference = format!("oci:{}", dir.display());
    bench.pull(&reference).unwrap();
    // Only the manifest is left: it must be enough.
    for digest in first.blobs().keys() {
        fs::remove_file(dir.join("blobs/sha256").join(digest.hex())).unwrap();
    }
    assert_eq!(bench.pull(&reference).unwrap().digest, first.digest());
    second.write_layout(&dir, "latest");
    assert_eq!(bench.pull(&reference).unwrap().digest, second.digest());
    fs::remove_dir_all(&dir).unwrap();
    assert!(bench.pull(&reference).is_err());
    bench.options.policy = PullPolicy::Never;
    assert_eq!(bench.pull(&reference).unwrap().digest, second.digest());
}

/// The archive that Docker wrote before version 25: ids as directories, repeated layers as links.
fn old_docker_archive(image: &TestImage, tags: &Value, pack: fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    let mut members = Vec::new();
    for (number, layer) in image.tars.iter().enumerate() {
        members.push(format!("{number:064x}/layer.tar"));
        add(&members[number], &pack(layer));
    }
    let config = format!("{}.json", Digest::of(&image.config).hex());
    add(&config, &image.config);
    add(
        "manifest.json",
        json!([{"Config": config, "RepoTags": tags, "Layers": members}])
            .to_string()
            .as_bytes(),
    );
    add("repositories", b"{}");
    builder.into_inner().unwrap()
}

/// The archive that Docker writes from version 25 on: an OCI layout with a `manifest.json`.
fn new_docker_archive(image: &TestImage, scratch: &Path) -> Vec<u8> {
    image.write_layout(scratch, "v1");
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| blob(Digest::of(layer)))
        .collect();
    let manifest = json!([{"Config": blob(Digest::of(&image.config)), "RepoTags": ["app:v1"], "Layers": layers}]);
    fs::write(scratch.join("manifest.json"), manifest.to_string()).unwrap();
    tar_of_dir(scratch)
}

#[test]
fn every_kind_of_docker_archive_gives_the_same_root() {
    let image = TestImage::new(
        &[tar(&[("a", &noise(1, 9000))]), tar(&[("b", b"b")])],
        Packing::Gzip,
    );
    let bench = Bench::new();
    image.write_layout(&bench.path("layout"), "latest");
    let expected = bench
        .pull(&format!("oci:{}", bench.path("layout").display()))
        .unwrap()
        .root;
    let plain = old_docker_archive(&image, &json!(["app:v1"]), <[u8]>::to_vec);
    for (name, bytes) in [
        ("old.tar", plain.clone()),
        ("old.tar.gz", gzip(&plain)),
        ("old.tar.zst", zstd::bulk::compress(&plain, 1).unwrap()),
        (
            "old-gzipped-layers.tar",
            old_docker_archive(&image, &Value::Null, gzip),
        ),
        ("new.tar", new_docker_archive(&image, &bench.path("new"))),
    ] {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        let fresh = Bench::new();
        let pulled = fresh.pull(&format!("docker-archive:{}", path.display()));
        let pulled = pulled.unwrap_or_else(|error| panic!("{name}: {}", explain(&error)));
        assert_eq!(pulled.root.digest, expected.digest, "{name}");
        assert_eq!(pulled.config.user, "1000:1000");
        assert!(files_below(&fresh.path("home/tmp")).is_empty());
    }
}

#[test]
fn images_of_a_docker_archive_are_named_as_docker_names_them() {
    let bench = Bench::new();
    let image = TestImage::small();
    let path = bench.path("a.tar");
    fs::write(
        &path,
        old_docker_archive(
            &image,
            &json!(["app:v1", "ghcr.io/o/app:2"]),
            <[u8]>::to_vec,
        ),
    )
    .unwrap();
    let archive = format!("docker-archive:{}", path.display());
    for name in [
        "",
        ":app:v1",
        ":docker.io/library/app:v1",
        ":ghcr.io/o/app:2",
    ] {
        bench
            .pull(&format!("{archive}{name}"))
            .unwrap_or_else(|error| panic!("{name}: {}", explain(&error)));
    }
    let error = archive_error(bench.pull(&format!("{archive}:app:v2")).unwrap_err());
    assert!(
        matches!(&error, DockerArchiveError::NoSuchImage { available, .. } if available == "app:v1, ghcr.io/o/app:2"),
        "{error}"
    );
}

#[test]
fn docker_archives_with_faults_are_refused() {
    let bench = Bench::new();
    let image = TestImage::noisy(2, 5000);
    let path = bench.path("a.tar");
    let reference = format!("docker-archive:{}", path.display());
    let pull = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        bench.pull(&reference).unwrap_err()
    };
    let good = old_docker_archive(&image, &json!(["app:v1"]), <[u8]>::to_vec);
    // A flipped bit in the data of a layer is told by the diff_id.
    let mut flipped = good.clone();
    flipped[2000] ^= 1;
    let error = pull(&flipped);
    assert!(
        explain(&error).contains(&Digest::of(&image.tars[0]).to_string()),
        "{}",
        explain(&error)
    );
    // One in the config by the name of its file.
    let at = good
        .windows(12)
        .position(|window| window == b"architecture")
        .unwrap();
    let mut flipped = good;
    flipped[at] ^= 1;
    let error = pull(&flipped);
    assert!(
        explain(&error).contains(&Digest::of(&image.config).to_string()),
        "{}",
        explain(&error)
    );
    let lone = |name: &str, content: &[u8]| tar(&[(name, content)]);
    assert!(
        matches!(archive_error(pull(&lone("index.json", b"{}"))), DockerArchiveError::NotAnArchive { hint, .. } if hint.contains("oci-archive"))
    );
    assert!(matches!(
        archive_error(pull(&lone("manifest.json", b"[]"))),
        DockerArchiveError::Empty { .. }
    ));
    assert!(matches!(
        archive_error(pull(&lone("manifest.json", b"{"))),
        DockerArchiveError::Json { .. }
    ));
    let outside = br#"[{"Config": "../../../etc/passwd", "RepoTags": null, "Layers": null}]"#;
    assert!(matches!(
        archive_error(pull(&lone("manifest.json", outside))),
        DockerArchiveError::Missing { .. }
    ));
    assert!(matches!(
        source_error(pull(
            b"no tar at all, but long enough to have a header if it were one"
                .repeat(20)
                .as_slice()
        )),
        SourceError::Tarball(_)
    ));
}

#[test]
fn an_oci_archive_is_a_layout_in_a_tar_file() {
    let bench = Bench::new();
    let image = TestImage::noisy(3, 5000);
    image.write_layout(&bench.path("layout"), "v1");
    let bytes = tar_of_dir(&bench.path("layout"));
    for (name, bytes) in [("a.tar", bytes.clone()), ("a.tar.gz", gzip(&bytes))] {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        let pulled = Bench::new()
            .pull(&format!("oci-archive:{}:v1", path.display()))
            .unwrap();
        assert_eq!(pulled.digest, image.digest());
    }
    let error = bench
        .pull(&format!(
            "oci-archive:{}",
            bench.path("absent.tar").display()
        ))
        .unwrap_err();
    assert!(
        explain(&error).contains("absent.tar"),
        "{}",
        explain(&error)
    );
}

#[test]
fn a_directory_is_an_image_and_an_unchanged_one_the_same() {
    let bench = Bench::new();
    let dir = bench.path("rootfs");
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(dir.join("bin/tool"), noise(1, 10_000)).unwrap();
    let reference = format!("rootfs:{}", dir.display());
    let first = bench.pull(&reference).unwrap();
    assert_eq!(
        (first.config.os.as_str(), first.config.cmd.len()),
        ("linux", 0)
    );
    assert_eq!(bench.pull(&reference).unwrap().digest, first.digest);
    fs::write(dir.join("bin/tool"), noise(2, 10_000)).unwrap();
    let changed = bench.pull(&reference).unwrap();
    assert_ne!(changed.digest, first.digest);
    assert_eq!(bench.get(&reference).unwrap().digest, changed.digest);
    assert!(matches!(
        bench.pull("rootfs:/nonexistent/dir"),
        Err(PullError::Directory { .. })
    ));
}

#[test]
fn an_unreadable_blob_names_itself_and_the_system_error() {
    let bench = Bench::new();
    let image = TestImage::small();
    let dir = bench.path("layout");
    image.write_layout(&dir, "latest");
    let digest = Digest::of(&image.layers[0]);
    let path = dir.join("blobs/sha256").join(digest.hex());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = bench.pull(&format!("oci:{}", dir.display())).unwrap_err();
    assert!(
        explain(&error).contains(&digest.hex()),
        "{}",
        explain(&error)
    );
    assert!(
        !matches!(error, PullError::Blob { source, .. } if matches!(*source, BlobError::Digest { .. }))
    );
}

#[test]
fn relative_paths_mean_the_same_from_everywhere() {
    let bench = Bench::new();
    let image = TestImage::small();
    image.write_layout(&bench.path("layout"), "latest");
    let there: ImageRef = format!("oci:{}/x/../layout", bench.dir.path().display())
        .parse()
        .unwrap();
    // A name that leads through a directory that does not exist is not the same name.
    assert!(
        bench
            .store
            .pull(&there, &bench.options, &image::NoProgress)
            .is_err()
    );
    let dotted = format!("oci:{}/./layout", bench.dir.path().display());
    bench.pull(&dotted).unwrap();
    assert!(
        bench
            .get(&format!("oci:{}/layout", bench.dir.path().display()))
            .is_some()
    );
}

#[test]
fn an_image_without_layers_is_an_empty_root() {
    let bench = Bench::new();
    let config = br#"{"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": null}}"#;
    let image = TestImage::with_config(config.to_vec(), &[], Packing::Gzip);
    image.write_layout(&bench.path("layout"), "latest");
    let pulled = bench
        .pull(&format!("oci:{}", bench.path("layout").display()))
        .unwrap();
    assert_eq!(pulled.root.pieces.len(), 1);
    assert!(bench.store.verify().unwrap().is_empty());
}

#[test]
fn an_image_that_is_known_costs_no_write() {
    let bench = Bench::new();
    TestImage::small().write_layout(&bench.path("layout"), "latest");
    let reference = format!("oci:{}", bench.path("layout").display());
    bench.pull(&reference).unwrap();
    let names = bench.path("home/images/names.json");
    let before = fs::metadata(&names).unwrap();
    bench.pull(&reference).unwrap();
    let after = fs::metadata(&names).unwrap();
    // A change would be a new file.
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&before),
        std::os::unix::fs::MetadataExt::ino(&after)
    );
}
