//! The store: names, removal, collection, damage, many processes.
mod support;

use image::{Damage, Digest, ImageRef, NoProgress, PruneScope, PullPolicy, Store, StoreError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::image::{Packing, TestImage, noise, tar};
use support::peer::{Answer, Peer};
use support::shelf::Shelf;
use support::tools::{Bench, explain, files_below, options};

fn reference(text: &str) -> ImageRef {
    text.parse().unwrap()
}

/// Writes a layout and pulls it. Returns the reference.
fn add(bench: &Bench, name: &str, image: &TestImage) -> String {
    let dir = bench.path(name);
    image.write_layout(&dir, "latest");
    let text = format!("oci:{}", dir.display());
    bench.pull(&text).unwrap();
    text
}

#[test]
fn a_store_is_private_and_says_its_version() {
    let bench = Bench::new();
    let home = bench.path("home");
    assert_eq!(
        fs::metadata(&home).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(fs::read_to_string(home.join("version")).unwrap(), "1\n");
    fs::write(home.join("version"), "2\n").unwrap();
    let error = Store::open(&home).unwrap_err();
    assert!(
        matches!(&error, StoreError::Version { found, .. } if found == "2"),
        "{error}"
    );
}

#[test]
fn images_are_found_by_name_digest_and_the_start_of_it() {
    let bench = Bench::new();
    let image = TestImage::small();
    let name = add(&bench, "a", &image);
    let hex = image.digest().hex();
    for text in [
        name.as_str(),
        &hex,
        &format!("sha256:{hex}"),
        &hex[..12],
        &format!("sha256:{}", &hex[..4]),
    ] {
        assert_eq!(bench.get(text).unwrap().digest, image.digest(), "{text}");
    }
    assert!(bench.get("absent").is_none());
    assert!(bench.get("sha256:0000").is_none() || hex.starts_with("0000"));
    let listed = bench.store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].digest, listed[0].platform.as_str()),
        (image.digest(), "linux/amd64")
    );
    assert_eq!(listed[0].names, [name]);
    assert!(listed[0].size > 0 && !listed[0].is_damaged);
}

#[test]
fn a_long_home_and_odd_names_work() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("h".repeat(120)).join("ö b\n".repeat(20));
    let store = Store::open(&home).unwrap();
    let image = TestImage::small();
    image.write_layout(&dir.path().join("l"), "latest");
    let name = reference(&format!("oci:{}", dir.path().join("l").display()));
    store.pull(&name, &options(), &NoProgress).unwrap();
    assert!(Store::open(&home).unwrap().get(&name).unwrap().is_some());
}

#[test]
fn removing_the_last_name_removes_the_image_and_what_only_it_needed() {
    let bench = Bench::new();
    let base = tar(&[("base", &noise(1, 50_000))]);
    let first = TestImage::new(&[base.clone(), tar(&[("x", b"x")])], Packing::Gzip);
    let second = TestImage::new(&[base, tar(&[("y", b"y")])], Packing::Gzip);
    let (a, b) = (add(&bench, "a", &first), add(&bench, "b", &second));
    let again = add(&bench, "again", &first);
    assert_eq!(bench.store.usage().unwrap().layers, 3);

    let by_id = bench
        .store
        .remove(&reference(&first.digest().hex()))
        .unwrap_err();
    assert!(
        matches!(by_id, StoreError::SeveralNames { ref names, .. } if names.len() == 2),
        "{by_id}"
    );
    let untagged = bench.store.remove(&reference(&again)).unwrap();
    assert_eq!((untagged.names, untagged.image), (vec![again], None));
    let removed = bench.store.remove(&reference(&a)).unwrap();
    assert_eq!(removed.image, Some(first.digest()));
    assert_eq!((removed.reclaimed.layers, removed.reclaimed.roots), (1, 1));
    assert!(removed.reclaimed.bytes > 0);
    assert!(bench.get(&a).is_none());
    assert!(matches!(
        bench.store.remove(&reference(&a)),
        Err(StoreError::NotFound { .. })
    ));
    assert!(bench.get(&b).is_some());
    assert!(bench.store.verify().unwrap().is_empty());
    assert_eq!(bench.store.usage().unwrap().layers, 2);
}

#[test]
fn an_image_in_use_is_neither_removed_nor_pruned() {
    let bench = Bench::new();
    let name = add(&bench, "a", &TestImage::small());
    let used = bench.get(&name).unwrap();
    let error = bench.store.remove(&reference(&name)).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by a virtual machine"));
    assert_eq!(bench.store.prune(PruneScope::Unused).unwrap().images, []);
    let lock = used.lock().unwrap();
    drop(used);
    assert!(
        bench.store.remove(&reference(&name)).is_err(),
        "a handed-on descriptor keeps it"
    );
    drop(lock);
    assert_eq!(
        bench.store.prune(PruneScope::Unused).unwrap().images.len(),
        1
    );
    assert!(bench.get(&name).is_none());
    let usage = bench.store.usage().unwrap();
    assert_eq!((usage.images, usage.layers, usage.roots), (0, 0, 0));
}

#[test]
fn prune_takes_what_no_name_leads_to() {
    let bench = Bench::new();
    let name = add(&bench, "a", &TestImage::small());
    let second = TestImage::noisy(1, 5000);
    // The name moves on; the first image is dangling.
    assert_eq!(add(&bench, "a", &second), name);
    assert_eq!(bench.store.list().unwrap().len(), 2);
    // A layer that no image has, as an interrupted pull leaves it.
    let lone = tar(&[("lone", b"lone")]);
    let layers = image::layer::LayerStore::open(&bench.path("home")).unwrap();
    layers
        .import(
            &Digest::of(&lone),
            &mut &lone[..],
            &image::Limits::default(),
        )
        .unwrap();
    let before = bench.store.usage().unwrap();
    assert!(before.unused_bytes > 0);
    let reclaimed = bench.store.prune(PruneScope::Dangling).unwrap();
    assert_eq!(
        (reclaimed.images.len(), reclaimed.layers, reclaimed.roots),
        (1, 2, 1)
    );
    assert_eq!(bench.get(&name).unwrap().digest, second.digest());
    assert_eq!(bench.store.usage().unwrap().unused_bytes, 0);
    assert!(bench.store.verify().unwrap().is_empty());
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn verify_finds_a_flipped_bit_in_every_file_and_names_its_owner() {
    let image = TestImage::noisy(2, 9000);
    let files = {
        let bench = Bench::new();
        add(&bench, "a", &image);
        assert!(bench.store.verify().unwrap().is_empty());
        files_below(&bench.path("home"))
    };
    let mut tried = 0;
    for file in files {
        let bench = Bench::new();
        add(&bench, "a", &image);
        let path = bench.path("home").join(&file);
        let is_content = file.ends_with(".erofs")
            || [
                "manifest.json",
                "config.json",
                "root.json",
                "/data",
                "/index",
            ]
            .iter()
            .any(|end| file.ends_with(end));
        if !is_content {
            continue;
        }
        tried += 1;
        flip(&path);
        let damage = bench.store.verify().unwrap();
        assert!(!damage.is_empty(), "{file}");
        let text = damage[0].to_string();
        let owner = match &damage[0] {
            Damage::Image { digest, .. } | Damage::Root { image: digest, .. } => *digest,
            Damage::Layer { diff_id, .. } => *diff_id,
            Damage::Name { .. } => panic!("{text}"),
        };
        let is_layer = file.starts_with("layers/");
        assert!(text.contains(&owner.to_string()), "{text}");
        assert_eq!(is_layer, owner != image.digest(), "{file}: {text}");
        if is_layer {
            assert!(file.contains(&owner.hex()), "{file}: {text}");
        }
    }
    assert_eq!(tried, 3 + 2 * 2 + 1);
}

#[test]
fn damaged_images_heal_when_pulled_again_and_can_be_removed() {
    let image = TestImage::noisy(2, 9000);
    for victim in ["manifest.json", "config.json", "root.json", "in-use"] {
        let bench = Bench::new();
        let name = add(&bench, "a", &image);
        let path = bench
            .path("home/images")
            .join(image.digest().hex())
            .join(victim);
        if victim == "in-use" {
            fs::remove_file(&path).unwrap();
        } else {
            flip(&path);
        }
        if victim != "in-use" {
            let error = bench.store.get(&reference(&name)).unwrap_err();
            assert!(
                matches!(&error, StoreError::Damaged { digest, .. } if *digest == image.digest()),
                "{}",
                explain(&error)
            );
            assert!(bench.store.list().unwrap()[0].is_damaged);
        }
        bench
            .pull(&name)
            .unwrap_or_else(|error| panic!("{victim}: {}", explain(&error)));
        assert!(bench.store.verify().unwrap().is_empty(), "{victim}");
        flip(
            &bench
                .path("home/images")
                .join(image.digest().hex())
                .join("config.json"),
        );
        bench.store.remove(&reference(&name)).unwrap();
        assert_eq!(bench.store.usage().unwrap().layers, 0);
    }
}

#[test]
fn a_lost_layer_is_fetched_again_and_only_it() {
    let image = TestImage::noisy(3, 9000);
    let shelf = Shelf::of(&image);
    let peer = Peer::start(move |request| shelf.answer(request));
    let bench = Bench::new();
    let name = format!("{}/x", peer.host());
    bench.pull(&name).unwrap();
    let layer = bench
        .path("home/layers")
        .join(Digest::of(&image.tars[1]).hex());
    fs::remove_dir_all(&layer).unwrap();
    let before = peer.count(support::peer::Request::is_blob);
    bench.pull(&name).unwrap();
    // The config and the one layer.
    assert_eq!(peer.count(support::peer::Request::is_blob), before + 2);
    assert!(bench.store.verify().unwrap().is_empty());
}

#[test]
fn a_damaged_index_of_names_is_named() {
    let bench = Bench::new();
    let name = add(&bench, "a", &TestImage::small());
    let path = bench.path("home/images/names.json");
    fs::write(&path, "{\"names\": ").unwrap();
    let error = bench.store.get(&reference(&name)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Names { path: named, .. } if *named == path),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    bench.pull(&name).unwrap();
}

/// Not a test of its own: what the tests below run in other processes.
#[test]
fn helper_process() {
    let Some(task) = std::env::var_os("IMAGE_TEST_TASK") else {
        return;
    };
    let home = PathBuf::from(std::env::var_os("IMAGE_TEST_HOME").unwrap());
    let name = std::env::var("IMAGE_TEST_NAME").unwrap();
    let store = Store::open(&home).unwrap();
    match task.to_str().unwrap() {
        "pull" => drop(
            store
                .pull(&reference(&name), &options(), &NoProgress)
                .unwrap(),
        ),
        "use" => {
            let _used = store.get(&reference(&name)).unwrap().unwrap();
            println!("ready");
            // Until the parent closes the pipe, or kills us.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        other => panic!("{other}"),
    }
}

/// A process of its own that works on the store.
struct Helper(Child);

impl Helper {
    fn start(task: &str, bench: &Bench, name: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "helper_process",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("IMAGE_TEST_TASK", task)
            .env("IMAGE_TEST_HOME", bench.path("home"))
            .env("IMAGE_TEST_NAME", name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn succeed(mut self) {
        assert!(self.0.wait().unwrap().success());
    }

    fn wait_until_ready(&mut self) {
        let stdout = self.0.stdout.as_mut().unwrap();
        let mut seen = String::new();
        let mut byte = [0];
        while !seen.contains("ready") {
            assert_eq!(std::io::Read::read(stdout, &mut byte).unwrap(), 1, "{seen}");
            seen.push(char::from(byte[0]));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn processes_that_pull_the_same_image_at_once_all_succeed() {
    let image = TestImage::noisy(4, 300_000);
    let shelf = Shelf::of(&image);
    let peer = Peer::start(move |request| shelf.answer(request));
    let bench = Bench::new();
    let name = format!("{}/x", peer.host());
    let helpers: Vec<_> = (0..4)
        .map(|_| Helper::start("pull", &bench, &name))
        .collect();
    helpers.into_iter().for_each(Helper::succeed);
    let usage = bench.store.usage().unwrap();
    assert_eq!(
        (usage.images, usage.layers, usage.roots, usage.unused_bytes),
        (1, 4, 1, 0)
    );
    assert!(bench.store.verify().unwrap().is_empty());
    assert!(files_below(&bench.path("home/tmp")).is_empty());
}

#[test]
fn a_killed_pull_leaves_nothing_the_next_command_does_not_sweep() {
    let image = TestImage::noisy(3, 200_000);
    let shelf = Shelf::of(&image);
    let last = Digest::of(&image.layers[2]);
    // Half of the last layer, then silence: the moment to kill.
    let stuck = {
        let shelf = shelf.clone();
        Peer::start(move |request| {
            if request.target.ends_with(&last.hex()) {
                Answer::Silence
            } else {
                shelf.answer(request)
            }
        })
    };
    let bench = Bench::new();
    let helper = Helper::start("pull", &bench, &format!("{}/x", stuck.host()));
    stuck.wait_for(|request| request.target.ends_with(&last.hex()));
    drop(helper);
    let store = Store::open(&bench.path("home")).unwrap();
    assert!(files_below(&bench.path("home/tmp")).is_empty());
    assert!(store.verify().unwrap().is_empty());
    assert!(store.list().unwrap().is_empty());
    let peer = Peer::start(move |request| shelf.answer(request));
    bench.pull(&format!("{}/x", peer.host())).unwrap();
    assert!(bench.store.verify().unwrap().is_empty());
}

#[test]
fn another_process_keeps_an_image_until_it_dies() {
    let bench = Bench::new();
    let name = add(&bench, "a", &TestImage::small());
    let mut helper = Helper::start("use", &bench, &name);
    helper.wait_until_ready();
    assert!(matches!(
        bench.store.remove(&reference(&name)),
        Err(StoreError::InUse { .. })
    ));
    // kill -9: the lock ends with the process.
    drop(helper);
    bench.store.remove(&reference(&name)).unwrap();
}

#[test]
fn prune_and_pulls_at_once_lose_nothing() {
    let bench = Bench::new();
    let images: Vec<_> = (0..6)
        .map(|n| TestImage::new(&[tar(&[("f", &noise(n, 20_000))])], Packing::Gzip))
        .collect();
    std::thread::scope(|scope| {
        for (number, image) in images.iter().enumerate() {
            let bench = &bench;
            scope.spawn(move || {
                for round in 0..5 {
                    let pulled = add(bench, &format!("l{number}"), image);
                    let stored = bench.get(&pulled).unwrap();
                    assert!(
                        stored.root.pieces.iter().all(|piece| piece.path.exists()),
                        "round {round}"
                    );
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                match bench.store.prune(PruneScope::Dangling) {
                    Ok(_) | Err(StoreError::Busy) => {}
                    Err(error) => panic!("{}", explain(&error)),
                }
            }
        });
    });
    assert_eq!(bench.store.list().unwrap().len(), 6);
    assert!(bench.store.verify().unwrap().is_empty());
}

#[test]
fn names_survive_many_writers() {
    let bench = Bench::new();
    let image = TestImage::small();
    let shelf = Shelf::of(&image);
    let peer = Peer::start(move |request| shelf.answer(request));
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (bench, host) = (&bench, peer.host());
            scope.spawn(move || bench.pull(&format!("{host}/r{number}")).unwrap());
        }
    });
    assert_eq!(bench.store.list().unwrap()[0].names.len(), 12);
}

#[test]
fn never_finds_what_is_there_whatever_the_policy_was() {
    let mut bench = Bench::new();
    let name = add(&bench, "a", &TestImage::small());
    bench.options.policy = PullPolicy::Never;
    bench.pull(&name).unwrap();
    bench
        .pull(&TestImage::small().digest().hex()[..10])
        .unwrap();
}
