//! What is pulled, and what is not worth pulling.
use crate::support::image::{DOCKER_LIST, OCI_INDEX, Packing, TestImage, noise, tar};
use crate::support::peer::{Answer, Peer, Request};
use crate::support::recorder::Recorder;
use crate::support::shelf::Shelf;
use crate::support::tools::{Bench, explain};
use crate::{good_peer, registry_error, source_error};
use image::{Digest, ManifestError, PullError, PullPolicy, RegistryError, SourceError};

#[test]
fn a_pulled_image_is_found_and_nothing_is_read_twice() {
    let image = TestImage::noisy(3, 100_000);
    let peer = good_peer(&image);
    let mut bench = Bench::new();
    let name = format!("{}/a/b", peer.host());
    let recorder = Recorder::default();
    let pulled = bench
        .store
        .pull(&name.parse().unwrap(), &bench.options, &recorder)
        .unwrap();
    assert_eq!(pulled.digest, image.digest());
    assert_eq!(
        pulled.name.as_deref(),
        Some(format!("{name}:latest").as_str())
    );
    assert_eq!(pulled.config.cmd, ["/bin/true"]);
    assert_eq!(pulled.config.env, ["A=b c"]);
    for layer in &image.layers {
        let digest = Digest::of(layer);
        assert_eq!(recorder.bytes.lock().unwrap()[&digest], layer.len() as u64);
        assert!(recorder.done.lock().unwrap().contains(&digest));
    }
    assert_eq!(peer.count(Request::is_blob), 4);
    assert_eq!(bench.get(&name).unwrap().root, pulled.root);

    let requests = peer.seen().len();
    assert_eq!(bench.pull(&name).unwrap().root, pulled.root);
    assert_eq!(peer.seen().len(), requests, "a known name asks nobody");
    bench.options.policy = PullPolicy::Always;
    assert_eq!(bench.pull(&name).unwrap().digest, pulled.digest);
    let later = &peer.seen()[requests..];
    assert!(
        later.iter().all(|request| request.method == "HEAD"),
        "{later:?}"
    );

    // Another name for the same manifest: the manifest is read, no blob is.
    let other = format!("{}/a/b@{}", peer.host(), image.digest());
    assert_eq!(bench.pull(&other).unwrap().digest, pulled.digest);
    assert_eq!(peer.count(Request::is_blob), 4);
}

#[test]
fn every_packing_gives_the_same_root() {
    let tars = [
        tar(&[("a", b"one"), ("d/b", &noise(1, 70_000))]),
        tar(&[("c", b"three")]),
    ];
    let mut roots = Vec::new();
    for packing in [
        Packing::Gzip,
        Packing::Zstd,
        Packing::Plain,
        Packing::GzipTwice,
    ] {
        let peer = good_peer(&TestImage::new(&tars, packing));
        roots.push(
            Bench::new()
                .pull(&format!("{}/x", peer.host()))
                .unwrap()
                .root
                .digest,
        );
    }
    roots.dedup();
    assert_eq!(roots.len(), 1);
}

#[test]
fn layers_in_the_store_and_repeated_layers_are_fetched_once() {
    let base = tar(&[("base", &noise(1, 50_000))]);
    let first = TestImage::new(&[base.clone(), tar(&[("x", b"x")])], Packing::Gzip);
    let second = TestImage::new(&[base.clone(), tar(&[("y", b"y")]), base], Packing::Gzip);
    let mut shelf = Shelf::of(&first);
    shelf.add(&second, "two");
    let peer = Peer::start(move |request| shelf.answer(request));
    let bench = Bench::new();
    bench.pull(&format!("{}/x", peer.host())).unwrap();
    let recorder = Recorder::default();
    let two = format!("{}/x:two", peer.host()).parse().unwrap();
    bench.store.pull(&two, &bench.options, &recorder).unwrap();
    let base_blob = Digest::of(&second.layers[0]);
    assert_eq!(
        peer.count(|request| request.target.ends_with(&base_blob.hex())),
        1
    );
    assert_eq!(*recorder.present.lock().unwrap(), [base_blob]);
    assert_eq!(bench.store.usage().unwrap().layers, 3);
}

#[test]
fn a_hundred_layers_are_no_trouble() {
    let tars: Vec<_> = (0..100)
        .map(|n| tar(&[(&format!("f{n}"), format!("{n}").as_bytes())]))
        .collect();
    let peer = good_peer(&TestImage::new(&tars, Packing::Gzip));
    let pulled = Bench::new().pull(&format!("{}/x", peer.host())).unwrap();
    assert_eq!(pulled.config.diff_ids.len(), 100);
}

#[test]
fn a_manifest_that_is_not_the_one_asked_for_is_refused() {
    let (image, other) = (TestImage::small(), TestImage::noisy(1, 10));
    let (wanted, bytes) = (image.digest(), other.manifest);
    let peer = Peer::start(move |_| {
        Answer::new(200, bytes.clone()).with("Docker-Content-Digest", wanted.to_string())
    });
    for name in [
        format!("{}/x@{wanted}", peer.host()),
        format!("{}/x:tag", peer.host()),
    ] {
        let error = registry_error(Bench::new().pull(&name).unwrap_err());
        assert!(
            matches!(error, RegistryError::WrongDigest { expected, .. } if expected == wanted),
            "{error}"
        );
    }
}

#[test]
fn answers_that_are_no_manifest_say_what_they_are() {
    let pull = |answer: fn() -> Answer| {
        let peer = Peer::start(move |_| answer());
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err()
    };
    let html =
        pull(|| Answer::new(200, "<!doctype html><p>Log in").with("Content-Type", "text/html"));
    assert!(matches!(
        source_error(html),
        SourceError::Manifest(ManifestError::Html)
    ));
    let json = pull(|| {
        Answer::new(200, "{\"schemaVersion\": 2,").with("Content-Type", "application/json")
    });
    assert!(matches!(
        source_error(json),
        SourceError::Manifest(ManifestError::Json(_))
    ));
    let old = pull(|| Answer::new(200, r#"{"schemaVersion": 1, "fsLayers": []}"#));
    assert!(matches!(
        source_error(old),
        SourceError::Manifest(ManifestError::Schema1)
    ));
    let large = pull(|| Answer::new(200, vec![b' '; 5 << 20]));
    assert!(matches!(
        registry_error(large),
        RegistryError::TooLarge { .. }
    ));
    let gateway = pull(|| Answer::new(418, "<html>teapot").with("Content-Type", "text/html"));
    assert!(
        explain(&gateway).contains("418") && explain(&gateway).contains("web page"),
        "{}",
        explain(&gateway)
    );
    let missing = pull(|| {
        Answer::new(
            404,
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such repo"}]}"#,
        )
    });
    let missing = registry_error(missing);
    assert!(
        matches!(&missing, RegistryError::NotFound { reference, .. } if reference == "x:latest"),
        "{missing}"
    );
    assert!(missing.to_string().contains("NAME_UNKNOWN: no such repo"));
}

#[test]
fn the_entry_for_this_platform_is_pulled_from_an_index() {
    let amd = TestImage::noisy(1, 1000);
    let arm = TestImage::for_platform("linux", "arm64", &[tar(&[("arm", b"")])], Packing::Gzip);
    let on = |image: &TestImage, architecture: &str| {
        let mut entry = image.entry();
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        entry
    };
    for media_type in [OCI_INDEX, DOCKER_LIST] {
        let mut shelf = Shelf::default();
        shelf.add(&amd, "");
        shelf.add(&arm, "");
        let index = shelf.add_index(media_type, &[on(&arm, "arm64"), on(&amd, "amd64")], "both");
        shelf.add_index(media_type, &[on(&arm, "arm64")], "arm");
        // An entry that says nothing: the config decides.
        shelf.add_index(media_type, &[arm.entry()], "silent");
        let peer = Peer::start(move |request| shelf.answer(request));
        let mut bench = Bench::new();
        assert_eq!(
            bench
                .pull(&format!("{}/x:both", peer.host()))
                .unwrap()
                .digest,
            amd.digest()
        );
        assert_eq!(
            bench
                .pull(&format!("{}/x@{index}", peer.host()))
                .unwrap()
                .digest,
            amd.digest()
        );
        for tag in ["arm", "silent"] {
            let error = source_error(bench.pull(&format!("{}/x:{tag}", peer.host())).unwrap_err());
            let text = error.to_string();
            assert!(
                matches!(error, SourceError::Manifest(ManifestError::Platform { .. })),
                "{text}"
            );
            assert!(
                text.contains("linux/amd64") && text.contains("linux/arm64"),
                "{text}"
            );
        }
        bench.options.platform = Some("linux/arm64".parse().unwrap());
        assert_eq!(
            bench
                .pull(&format!("{}/x:both", peer.host()))
                .unwrap()
                .digest,
            arm.digest()
        );
    }
}

#[test]
fn never_means_never() {
    let peer = good_peer(&TestImage::small());
    let name = format!("{}/x", peer.host());
    let mut bench = Bench::new();
    bench.options.policy = PullPolicy::Never;
    assert!(matches!(
        bench.pull(&name),
        Err(PullError::NotPresent { .. })
    ));
    assert_eq!(peer.seen().len(), 0);
    bench.options.policy = PullPolicy::Missing;
    bench.pull(&name).unwrap();
    bench.options.policy = PullPolicy::Never;
    bench.pull(&name).unwrap();
}

#[test]
fn manifests_and_configs_that_contradict_each_other_are_refused() {
    let tars = [tar(&[("a", b"a")]), tar(&[("b", b"b")])];
    let config = |diff_ids: &[Digest]| {
        serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).to_string().into_bytes()
    };
    let ids = [Digest::of(&tars[0]), Digest::of(&tars[1])];
    let pull = |image: &TestImage| {
        let peer = good_peer(image);
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err()
    };
    let fewer = pull(&TestImage::with_config(
        config(&ids[..1]),
        &tars,
        Packing::Gzip,
    ));
    assert!(matches!(
        fewer,
        PullError::LayerCount {
            layers: 2,
            diff_ids: 1,
            ..
        }
    ));
    let swapped = TestImage::with_config(config(&[ids[1], ids[0]]), &tars, Packing::Gzip);
    let blobs: Vec<String> = swapped
        .layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let swapped = pull(&swapped);
    assert!(matches!(swapped, PullError::Layer { .. }));
    assert!(
        blobs.iter().any(|blob| explain(&swapped).contains(blob)),
        "{}",
        explain(&swapped)
    );
}
