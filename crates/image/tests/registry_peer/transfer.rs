//! Broken connections, wrong bytes, and servers that make us wait.
use crate::support::image::TestImage;
use crate::support::peer::{Answer, Peer, Request};
use crate::support::recorder::Recorder;
use crate::support::shelf::Shelf;
use crate::support::tools::{Bench, explain};
use crate::{fetch_error, registry_error};
use image::{Cancel, Digest, Interrupted, NoProgress, PullError, PullOptions, RegistryError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
    assert!(crate::support::tools::files_below(&bench.path("home/tmp")).is_empty());
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
