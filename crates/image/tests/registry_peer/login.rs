//! Tokens and logins.
use crate::registry_error;
use crate::support::image::TestImage;
use crate::support::peer::{Answer, Peer};
use crate::support::shelf::Shelf;
use crate::support::tools::{Bench, explain};
use image::RegistryError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
