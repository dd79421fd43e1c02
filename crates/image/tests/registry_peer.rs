//! Pulling from a registry that behaves, and from one that does not.
mod support;

use image::{
    BlobError, Cancel, Digest, Interrupted, ManifestError, Mirror, NoProgress, ProxySettings,
    PullError, PullOptions, PullPolicy, RegistryError, SourceError,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::image::{DOCKER_LIST, OCI_INDEX, Packing, TestImage, noise, tar};
use support::peer::{Answer, Peer, Request};
use support::recorder::Recorder;
use support::shelf::Shelf;
use support::tools::{Bench, explain};

/// A peer that serves one image as it should.
fn good_peer(image: &TestImage) -> Peer {
    let shelf = Shelf::of(image);
    Peer::start(move |request| shelf.answer(request))
}

fn source_error(error: PullError) -> SourceError {
    match error {
        PullError::Source { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}

fn registry_error(error: PullError) -> RegistryError {
    match source_error(error) {
        SourceError::Registry(error) => error,
        other => panic!("{}", explain(&other)),
    }
}

fn blob_error(error: PullError) -> BlobError {
    match error {
        PullError::Blob { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}

fn fetch_error(error: PullError) -> RegistryError {
    match blob_error(error) {
        BlobError::Fetch { source, .. } => *source,
        other => panic!("{}", explain(&other)),
    }
}

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
fn broken_connections_are_resumed_where_they_broke() {
    let image = TestImage::noisy(1, 1 << 20);
    let shelf = Shelf::of(&image);
    let layer = Digest::of(&image.layers[0]);
    let peer = Peer::start(move |request| {
        let answer = shelf.answer(request);
        if request.target.ends_with(&layer.hex()) {
            answer.broken_after(300_000)
        } else {
            answer
        }
    });
    let recorder = Recorder::default();
    let bench = Bench::new();
    let name = format!("{}/x", peer.host()).parse().unwrap();
    bench.store.pull(&name, &bench.options, &recorder).unwrap();
    assert_eq!(
        recorder.bytes.lock().unwrap()[&layer],
        image.layers[0].len() as u64
    );
    let ranges: Vec<_> = peer
        .seen()
        .iter()
        .filter(|request| request.target.ends_with(&layer.hex()))
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=300000-"));
    assert_eq!(ranges[3].as_deref(), Some("bytes=900000-"));
}

#[test]
fn a_server_that_ignores_ranges_is_read_again_from_the_start() {
    let image = TestImage::noisy(1, 1 << 20);
    let layer = Digest::of(&image.layers[0]);
    let shelf = Shelf::of(&image);
    let breaks = AtomicUsize::new(0);
    let peer = Peer::start(move |request| {
        if !request.target.ends_with(&layer.hex()) {
            return shelf.answer(request);
        }
        let without_range = Request {
            headers: Vec::new(),
            ..request.clone()
        };
        let whole = shelf.answer(&without_range);
        match breaks.fetch_add(1, Ordering::SeqCst) {
            0 => whole.broken_after(400_000),
            _ => whole,
        }
    });
    Bench::new().pull(&format!("{}/x", peer.host())).unwrap();
}

#[test]
fn a_server_that_resumes_elsewhere_is_refused() {
    let image = TestImage::noisy(1, 1 << 20);
    let layer = Digest::of(&image.layers[0]);
    let shelf = Shelf::of(&image);
    let peer = Peer::start(move |request| match request.header("range") {
        Some(_) => Answer::new(206, "x").with("Content-Range", "bytes 17-17/1048576"),
        None if request.target.ends_with(&layer.hex()) => shelf.answer(request).broken_after(1000),
        None => shelf.answer(request),
    });
    let error = fetch_error(
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err(),
    );
    assert!(
        matches!(error, RegistryError::WrongRange { offset: 1000, .. }),
        "{error}"
    );
}

#[test]
fn a_server_that_never_gets_on_is_given_up() {
    let image = TestImage::noisy(1, 1 << 20);
    let layer = Digest::of(&image.layers[0]);
    let shelf = Shelf::of(&image);
    let peer = Peer::start(move |request| {
        let answer = shelf.answer(request);
        if request.target.ends_with(&layer.hex()) {
            answer.broken_after(1)
        } else {
            answer
        }
    });
    let bench = Bench::new();
    let error = bench.pull(&format!("{}/x", peer.host())).unwrap_err();
    assert!(
        explain(&error).contains(&layer.to_string()),
        "the blob is named: {}",
        explain(&error)
    );
    assert!(matches!(fetch_error(error), RegistryError::Broken { .. }));
    assert_eq!(
        peer.count(|request| request.target.ends_with(&layer.hex())),
        4
    );
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn lengths_that_lie_are_refused() {
    let image = TestImage::noisy(1, 100_000);
    let len = image.layers[0].len();
    let layer = Digest::of(&image.layers[0]);
    for claim in [len - 1, len + 1, len * 10] {
        let shelf = Shelf::of(&image);
        let peer = Peer::start(move |request| {
            let answer = shelf.answer(request);
            if request.target.ends_with(&layer.hex()) {
                answer.claiming(claim)
            } else {
                answer
            }
        });
        let error = fetch_error(
            Bench::new()
                .pull(&format!("{}/x", peer.host()))
                .unwrap_err(),
        );
        assert!(
            matches!(error, RegistryError::WrongSize { found, .. } if found == claim as u64),
            "{error}"
        );
    }
}

#[test]
fn a_flipped_bit_is_refused_and_names_the_blob() {
    let image = TestImage::noisy(2, 30_000);
    for (index, blob) in image.layers.iter().chain([&image.config]).enumerate() {
        for at in [0, blob.len() / 2, blob.len() - 1] {
            let digest = Digest::of(blob);
            let mut bad = blob.clone();
            bad[at] ^= 0x10;
            let mut shelf = Shelf::of(&image);
            shelf.replace_blob(digest, bad);
            let peer = Peer::start(move |request| shelf.answer(request));
            let bench = Bench::new();
            let error = bench.pull(&format!("{}/x", peer.host())).unwrap_err();
            assert!(
                explain(&error).contains(&digest.to_string()),
                "blob {index} byte {at}: {}",
                explain(&error)
            );
            assert!(bench.store.list().unwrap().is_empty());
            assert_eq!(bench.store.verify().unwrap().len(), 0);
        }
    }
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
fn passing_failures_are_waited_out() {
    let image = TestImage::small();
    let shelf = Shelf::of(&image);
    let count = AtomicUsize::new(0);
    let peer = Peer::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 4 => Answer::new(503, ""),
        1 | 5 => Answer::new(429, "").with("Retry-After", "0"),
        2 => Answer::new(429, "").with("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"),
        6 => Answer::Raw(Vec::new()),
        _ => shelf.answer(request),
    });
    Bench::new().pull(&format!("{}/x", peer.host())).unwrap();
}

#[test]
fn lasting_failures_stand_after_the_agreed_attempts() {
    let peer = Peer::start(|_| {
        Answer::new(
            500,
            r#"{"errors":[{"code":"UNKNOWN","message":"disk on fire"}]}"#,
        )
    });
    let error = registry_error(
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err(),
    );
    assert!(
        matches!(&error, RegistryError::Status { status, .. } if status.as_u16() == 500),
        "{error}"
    );
    assert!(error.to_string().contains("disk on fire"));
    assert_eq!(peer.seen().len(), 4);
}

#[test]
fn a_wait_that_is_too_long_is_an_error_at_once() {
    let peer = Peer::start(|_| {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
        Answer::new(429, body).with("Retry-After", "21600")
    });
    let error = registry_error(
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err(),
    );
    assert!(
        matches!(&error, RegistryError::TooManyRequests { wait, .. } if wait.as_secs() == 21_600),
        "{error}"
    );
    assert!(error.to_string().contains("pull rate limit"));
    assert_eq!(peer.seen().len(), 1);
}

#[test]
fn a_closed_port_is_an_error_at_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = registry_error(Bench::new().pull(&format!("{free}/x")).unwrap_err());
    assert!(
        matches!(&error, RegistryError::Connect { url, .. } if url.contains(&free.to_string())),
        "{error}"
    );
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

/// A registry behind bearer tokens; `tokens` counts how many were given.
fn guarded(
    image: &TestImage,
    tokens: &Arc<AtomicUsize>,
    is_valid: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Peer {
    let shelf = Shelf::of(image);
    let tokens = Arc::clone(tokens);
    Peer::start(move |request| {
        let host = request.header("host").unwrap().to_owned();
        if request.target.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return Answer::new(
                200,
                format!(r#"{{"token": "t{number}", "expires_in": 300}}"#),
            );
        }
        match request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if is_valid(token) => shelf.answer(request),
            _ => Answer::new(401, "").with(
                "WWW-Authenticate",
                format!(r#"Bearer realm="http://{host}/token?own=1",service="it's me",scope="repository:x:pull""#),
            ),
        }
    })
}

#[test]
fn one_token_serves_all_layers() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let peer = guarded(&TestImage::noisy(8, 1000), &tokens, |token| token == "t0");
    let mut bench = Bench::new();
    bench.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6cHc="}}}}}}"#,
        peer.host()
    ));
    bench.pull(&format!("{}/x", peer.host())).unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 1);
    let asked = peer
        .seen()
        .into_iter()
        .find(|request| request.target.starts_with("/token"))
        .unwrap();
    assert_eq!(
        asked.target,
        "/token?own=1&service=it%27s%20me&scope=repository%3Ax%3Apull&account=me"
    );
    assert_eq!(asked.header("authorization"), Some("Basic bWU6cHc="));
    assert_eq!(
        peer.count(|request| request.header("authorization").is_none()),
        1,
        "only the first question"
    );
}

#[test]
fn a_token_that_ends_early_is_renewed() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let uses = AtomicUsize::new(0);
    // The first token is good for two requests only.
    let is_valid = move |token: &str| token != "t0" || uses.fetch_add(1, Ordering::SeqCst) < 2;
    let peer = guarded(&TestImage::noisy(6, 1000), &tokens, is_valid);
    Bench::new().pull(&format!("{}/x", peer.host())).unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}

#[test]
fn a_refused_token_is_an_error_with_what_to_do() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let peer = guarded(&TestImage::small(), &tokens, |_| false);
    let error = registry_error(
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err(),
    );
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("docker login"), "{error}");
    assert!(tokens.load(Ordering::SeqCst) <= 2);
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let peer = guarded(&TestImage::small(), &tokens, |_| true);
    let mut bench = Bench::new();
    bench.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6", "identitytoken": "long/lived"}}}}}}"#,
        peer.host()
    ));
    bench.pull(&format!("{}/x", peer.host())).unwrap();
    let asked = peer
        .seen()
        .into_iter()
        .find(|request| request.target.starts_with("/token"))
        .unwrap();
    assert_eq!(asked.method, "POST");
    let form = String::from_utf8(asked.body).unwrap();
    assert!(
        form.contains("grant_type=refresh_token") && form.contains("refresh_token=long%2Flived"),
        "{form}"
    );
}

#[test]
fn basic_logins_are_sent_when_asked_for_and_never_shown() {
    let shelf = Shelf::of(&TestImage::small());
    let peer = Peer::start(move |request| match request.header("authorization") {
        Some("Basic bWU6aHVudGVyMg==") => shelf.answer(request),
        _ => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
    });
    let name = format!("{}/x", peer.host());
    let mut bench = Bench::new();
    let anonymous = registry_error(bench.pull(&name).unwrap_err());
    assert!(
        matches!(anonymous, RegistryError::Denied { .. }),
        "{anonymous}"
    );
    bench.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6d3Jvbmc="}}}}}}"#,
        peer.host()
    ));
    let refused = bench.pull(&name).unwrap_err();
    assert!(
        !format!("{} {refused:?}", explain(&refused)).contains("wrong"),
        "{}",
        explain(&refused)
    );
    bench.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6aHVudGVyMg=="}}}}}}"#,
        peer.host()
    ));
    bench.pull(&name).unwrap();
    assert!(!format!("{:?}", bench.options).contains("hunter2"));
}

#[test]
fn a_login_never_follows_a_redirect_to_another_place() {
    let image = TestImage::noisy(2, 1000);
    let shelf = Shelf::of(&image);
    let blobs = shelf.clone();
    let storage = Peer::start(move |request| blobs.answer(request));
    let elsewhere = storage.host();
    let peer = Peer::start(move |request| match request.header("authorization") {
        None => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\""),
        Some(_) if request.target.contains("/moved/") => {
            Answer::new(307, "").with("Location", request.target.replace("/moved/", "/x/"))
        }
        Some(_) if request.is_blob() => Answer::new(307, "").with(
            "Location",
            format!("http://{elsewhere}{}?sig=secret", request.target),
        ),
        Some(_) => shelf.answer(request),
    });
    let mut bench = Bench::new();
    bench.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6cHc="}}}}}}"#,
        peer.host()
    ));
    // The peer's shelf ends at the `?`, so the storage gets a plain path.
    let error = bench.pull(&format!("{}/moved", peer.host())).unwrap_err();
    assert!(!explain(&error).contains("secret"), "{}", explain(&error));
    assert!(!storage.seen().is_empty());
    assert!(
        storage
            .seen()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    let own: Vec<_> = peer
        .seen()
        .into_iter()
        .filter(|request| request.target.contains("/x/"))
        .collect();
    assert!(
        !own.is_empty()
            && own
                .iter()
                .all(|request| request.header("authorization").is_some())
    );
}

#[test]
fn redirected_blobs_arrive() {
    let image = TestImage::noisy(2, 1000);
    let shelf = Shelf::of(&image);
    let blobs = shelf.clone();
    let storage = Peer::start(move |request| blobs.answer(request));
    let elsewhere = storage.host();
    let peer = Peer::start(move |request| {
        if request.is_blob() {
            Answer::new(302, "moved")
                .with("Location", format!("http://{elsewhere}{}", request.target))
        } else {
            shelf.answer(request)
        }
    });
    Bench::new().pull(&format!("{}/x", peer.host())).unwrap();
    assert_eq!(storage.count(Request::is_blob), 3);
}

#[test]
fn redirects_without_end_have_one() {
    let peer = Peer::start(|request| Answer::new(302, "").with("Location", request.target.clone()));
    let error = registry_error(
        Bench::new()
            .pull(&format!("{}/x", peer.host()))
            .unwrap_err(),
    );
    assert!(matches!(error, RegistryError::Redirect { .. }), "{error}");
    assert!(peer.seen().len() < 20);
}

fn mirrored(bench: &mut Bench, upstream: &Peer, mirrors: &[String]) -> String {
    let registry = upstream.host();
    let mirror = |location: &String| Mirror {
        registry: registry.clone(),
        location: location.clone(),
    };
    bench.options.registry.mirrors = mirrors.iter().map(mirror).collect();
    format!("{registry}/x")
}

#[test]
fn a_mirror_that_has_the_image_spares_the_registry() {
    let image = TestImage::noisy(2, 1000);
    let (upstream, mirror) = (good_peer(&image), good_peer(&image));
    let mut bench = Bench::new();
    let name = mirrored(
        &mut bench,
        &upstream,
        &[format!("http://{}", mirror.host())],
    );
    bench.docker_config(&format!(
        r#"{{"auths": {{"{}": {{"auth": "bWU6cHc="}}}}}}"#,
        upstream.host()
    ));
    bench.pull(&name).unwrap();
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(mirror.count(Request::is_blob), 3);
}

#[test]
fn mirrors_that_fail_in_any_way_are_passed_over() {
    let image = TestImage::noisy(2, 50_000);
    let empty = Peer::start(|_| Answer::new(404, ""));
    let broken = Peer::start(|_| Answer::new(500, ""));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut damaged = Shelf::of(&image);
    let mut bad = image.layers[1].clone();
    bad[20_000] ^= 1;
    damaged.replace_blob(Digest::of(&image.layers[1]), bad);
    let damaged = Peer::start(move |request| damaged.answer(request));
    let upstream = good_peer(&image);
    let mut bench = Bench::new();
    let mirrors = [
        closed.to_string(),
        empty.host(),
        broken.host(),
        damaged.host(),
    ];
    let name = mirrored(&mut bench, &upstream, &mirrors);
    assert_eq!(bench.pull(&name).unwrap().digest, image.digest());
    let layer = Digest::of(&image.layers[1]);
    assert!(damaged.count(|request| request.target.ends_with(&layer.hex())) > 0);
    assert!(upstream.count(|request| request.target.ends_with(&layer.hex())) > 0);
}

#[test]
fn a_cancelled_pull_does_not_wait_for_a_silent_server() {
    let image = TestImage::noisy(2, 1000);
    let shelf = Shelf::of(&image);
    let layer = Digest::of(&image.layers[1]);
    let peer = Peer::start(move |request| {
        if request.target.ends_with(&layer.hex()) {
            Answer::Silence
        } else {
            shelf.answer(request)
        }
    });
    let bench = Bench::new();
    let cancel = Cancel::new();
    let options = PullOptions {
        cancel: cancel.clone(),
        ..bench.options.clone()
    };
    let (store, name) = (bench.store.clone(), format!("{}/x", peer.host()));
    let pull =
        std::thread::spawn(move || store.pull(&name.parse().unwrap(), &options, &NoProgress));
    peer.wait_for(|request| request.target.ends_with(&layer.hex()));
    cancel.cancel();
    let error = pull.join().unwrap().unwrap_err();
    assert!(
        matches!(error, PullError::Interrupted(Interrupted::Cancelled)),
        "{}",
        explain(&error)
    );
    assert!(support::tools::files_below(&bench.path("home/tmp")).is_empty());
}

#[test]
fn a_deadline_ends_a_pull_from_a_silent_server() {
    let peer = Peer::start(|_| Answer::Silence);
    let mut bench = Bench::new();
    bench.options.deadline = Some(Duration::from_millis(200));
    let error = bench.pull(&format!("{}/x", peer.host())).unwrap_err();
    assert!(
        matches!(error, PullError::Interrupted(Interrupted::Deadline)),
        "{}",
        explain(&error)
    );
}

#[test]
fn a_silent_server_counts_as_a_broken_connection() {
    let image = TestImage::small();
    let shelf = Shelf::of(&image);
    let count = AtomicUsize::new(0);
    let peer = Peer::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        1 => Answer::Silence,
        _ => shelf.answer(request),
    });
    let mut bench = Bench::new();
    bench.options.registry.read_timeout = Duration::from_millis(100);
    bench.pull(&format!("{}/x", peer.host())).unwrap();
}

#[test]
fn proxies_are_used_but_for_their_exceptions() {
    let image = TestImage::noisy(2, 1000);
    let registry = good_peer(&image);
    let target = registry.address();
    let proxy = Peer::start(move |request| match request.method.as_str() {
        "CONNECT" => Answer::Tunnel(target),
        _ => Answer::new(400, "a proxy"),
    });
    let mut bench = Bench::new();
    // A name that only the proxy could resolve.
    bench.options.registry.insecure = vec!["registry.invalid:5000".to_owned()];
    bench.options.registry.proxies = ProxySettings {
        http: Some(format!("http://user:pass@{}", proxy.host())),
        https: None,
        exceptions: "other.invalid".to_owned(),
    };
    bench.pull("registry.invalid:5000/x").unwrap();
    let connect = &proxy.seen()[0];
    assert_eq!(
        (connect.method.as_str(), connect.target.as_str()),
        ("CONNECT", "registry.invalid:5000")
    );
    assert_eq!(
        connect.header("proxy-authorization"),
        Some("Basic dXNlcjpwYXNz")
    );
    assert!(
        registry
            .seen()
            .iter()
            .all(|request| request.header("proxy-authorization").is_none())
    );

    let before = proxy.seen().len();
    bench.pull(&format!("{}/y", registry.host())).unwrap();
    bench.options.registry.proxies.exceptions = "registry.invalid".to_owned();
    bench.options.policy = PullPolicy::Always;
    assert!(bench.pull("registry.invalid:5000/z").is_err());
    assert_eq!(
        proxy.seen().len(),
        before,
        "neither loopback nor an exception goes through the proxy"
    );
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
