//! Mirrors, proxies and redirects.
use crate::support::image::TestImage;
use crate::support::peer::{Answer, Peer, Request};
use crate::support::shelf::Shelf;
use crate::support::tools::Bench;
use crate::{good_peer, registry_error};
use image::{Digest, Mirror, ProxySettings, PullPolicy, RegistryError};

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
