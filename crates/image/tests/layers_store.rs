//! The store under fire: killed processes, full disks, damaged files, many importers at once.

mod common;

use common::archive::{Archive, Member};
use common::disk::{self, Home};
use common::tools::{require_root, run};
use image::digest::Digest;
use image::fsutil::FsError;
use image::layer::{Damage, LayerError, LayerStore, Limits};
use image::root::{RootError, RootStore};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn sample() -> Vec<u8> {
    Archive::of([
        Member::file("one", vec![1; 10_000]),
        Member::file("two", vec![2; 3 << 20]),
        Member::directory("d"),
        Member::file("d/three", vec![3; 5000]),
    ])
}

#[test]
fn an_imported_layer_is_found_listed_verified_and_removed() {
    let home = Home::new();
    let tar = sample();
    let diff_id = Digest::of(&tar);
    assert_eq!(home.layers.get(&diff_id).unwrap(), None);
    let layer = home.import(&tar).unwrap();
    assert_eq!(layer.diff_id, diff_id);
    assert_eq!(layer.data_len(), 12_288 + (3 << 20) + 8192);
    assert_eq!(home.layers.get(&diff_id).unwrap(), Some(layer.clone()));
    assert_eq!(home.layers.list().unwrap(), std::slice::from_ref(&layer));
    home.layers.verify(&layer).unwrap();
    // There already: the stream is not touched.
    let same = home
        .layers
        .import(&diff_id, &mut std::io::empty(), &Limits::default())
        .unwrap();
    assert_eq!(same, layer);
    assert!(home.layers.remove(&diff_id).unwrap());
    assert!(!home.layers.remove(&diff_id).unwrap());
    assert_eq!(home.layers.get(&diff_id).unwrap(), None);
    assert!(home.leftovers().is_empty());
}

#[test]
fn nobody_else_can_read_the_store() {
    let home = Home::new();
    let layer = home.import(&sample()).unwrap();
    home.roots.compose(std::slice::from_ref(&layer)).unwrap();
    for directory in ["layers", "roots", "tmp"] {
        assert_eq!(
            home.path().join(directory).metadata().unwrap().mode() & 0o777,
            0o700,
            "{directory}"
        );
    }
    assert_eq!(layer.data_path().metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn another_archive_than_the_config_names_is_refused() {
    let home = Home::new();
    let (tar, other) = (sample(), Digest::of(b"other"));
    let error = home
        .layers
        .import(&other, &mut &tar[..], &Limits::default())
        .unwrap_err();
    let LayerError::DiffId { expected, found } = error else {
        panic!("{error:?}")
    };
    assert_eq!((expected, found), (other, Digest::of(&tar)));
    assert!(home.layers.list().unwrap().is_empty() && home.leftovers().is_empty());
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[track_caller]
fn damage(result: Result<impl std::fmt::Debug, LayerError>) -> Damage {
    match result.unwrap_err() {
        LayerError::Damaged { what, .. } => what,
        error => panic!("{error:?}"),
    }
}

#[test]
fn damaged_data_is_found_with_the_name_of_the_file() {
    let home = Home::new();
    let layer = home.import(&sample()).unwrap();
    let data_len = layer.data_len();
    // In the content, and in the padding that a reader could see through mmap.
    for at in [data_len - 8192, data_len - 1] {
        flip(&layer.data_path(), at);
        let Damage::Content(name) = damage(home.layers.verify(&layer)) else {
            panic!("at {at}")
        };
        assert_eq!(&*name.0, b"d/three");
        flip(&layer.data_path(), at);
    }
    home.layers.verify(&layer).unwrap();
    File::options()
        .write(true)
        .open(layer.data_path())
        .unwrap()
        .set_len(4096)
        .unwrap();
    assert_eq!(
        damage(home.layers.get(&layer.diff_id)),
        Damage::Length {
            expected: data_len,
            found: 4096
        }
    );
    assert!(matches!(
        home.roots.compose(&[layer]),
        Err(RootError::Layer(LayerError::Damaged { .. }))
    ));
}

#[test]
fn a_damaged_layer_is_replaced_by_the_next_import() {
    let home = Home::new();
    let tar = sample();
    let layer = home.import(&tar).unwrap();
    let spoil: [&dyn Fn(); 4] = [
        &|| flip(&layer.index_path(), 40),
        &|| std::fs::remove_file(layer.index_path()).unwrap(),
        &|| std::fs::remove_file(layer.data_path()).unwrap(),
        &|| {
            File::options()
                .write(true)
                .open(layer.index_path())
                .unwrap()
                .set_len(60)
                .unwrap();
        },
    ];
    for spoil in spoil {
        spoil();
        damage(home.layers.get(&layer.diff_id));
        damage(home.layers.verify(&layer));
        assert_eq!(home.layers.list().unwrap().len(), 1);
        home.layers.verify(&home.import(&tar).unwrap()).unwrap();
    }
    assert!(home.leftovers().is_empty());
}

#[test]
fn a_layer_of_another_release_is_named_as_such() {
    let home = Home::new();
    let layer = home.import(&sample()).unwrap();
    File::options()
        .write(true)
        .open(layer.index_path())
        .unwrap()
        .write_all_at(&[2], 8)
        .unwrap();
    assert_eq!(
        damage(home.layers.get(&layer.diff_id)),
        Damage::Version {
            found: 2,
            expected: 1
        }
    );
}

#[test]
fn a_root_is_composed_once_verified_and_composed_again_when_damaged() {
    let home = Home::new();
    let layer = home.import(&sample()).unwrap();
    let root = home.roots.compose(std::slice::from_ref(&layer)).unwrap();
    home.roots.verify(&root).unwrap();
    let written = root.pieces[0].path.metadata().unwrap().ino();
    assert_eq!(
        home.roots.compose(std::slice::from_ref(&layer)).unwrap(),
        root
    );
    assert_eq!(
        root.pieces[0].path.metadata().unwrap().ino(),
        written,
        "written twice"
    );
    let listed = home.roots.list().unwrap();
    assert_eq!(
        (listed.len(), listed[0].key, listed[0].len),
        (1, root.key, root.pieces[0].len)
    );

    flip(&root.pieces[0].path, 2000);
    assert!(matches!(
        home.roots.verify(&root),
        Err(RootError::Damaged { .. })
    ));
    assert!(home.roots.remove(&root.key).unwrap() && !home.roots.remove(&root.key).unwrap());
    // A torn header, as a crash of the machine might leave it.
    std::fs::write(&root.pieces[0].path, [0; 5000]).unwrap();
    assert_eq!(home.roots.compose(&[layer]).unwrap(), root);
    home.roots.verify(&root).unwrap();
    assert!(home.leftovers().is_empty());
}

#[test]
fn an_image_without_layers_is_an_empty_directory() {
    let root = Home::new().roots.compose(&[]).unwrap();
    assert_eq!(root.pieces.len(), 1);
}

#[test]
fn layers_beyond_the_block_addresses_are_refused() {
    let home = Home::new();
    let limits = Limits {
        max_file_bytes: 4 << 40,
        max_data_bytes: 4 << 40,
        ..Limits::default()
    };
    let layers: Vec<_> = (0..4)
        .map(|number| {
            let hole = Member::file(format!("hole{number}"), "")
                .record("GNU.sparse.map", "0,0")
                .record("GNU.sparse.size", (4u64 << 40).to_string());
            let tar = Archive::of([hole]);
            home.layers
                .import(&Digest::of(&tar), &mut &tar[..], &limits)
                .unwrap()
        })
        .collect();
    let error = home.roots.compose(&layers).unwrap_err();
    let RootError::TooLarge { blocks, max } = error else {
        panic!("{error:?}")
    };
    assert_eq!((blocks, max), ((1 << 32) + 1, (1 << 32) - 1));
    home.roots.compose(&layers[..3]).unwrap();
}

#[test]
fn a_full_disk_is_an_error_that_names_the_path_and_leaves_nothing() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    run(
        "mount",
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(directory.path()),
    );
    let result = std::panic::catch_unwind(|| {
        let layers = LayerStore::open(directory.path()).unwrap();
        let tar = sample();
        let error = layers
            .import(&Digest::of(&tar), &mut &tar[..], &Limits::default())
            .unwrap_err();
        let LayerError::Fs(FsError::NoSpace { path, .. }) = error else {
            panic!("{error:?}")
        };
        assert!(path.starts_with(directory.path()), "{}", path.display());
        assert!(
            directory
                .path()
                .join("tmp")
                .read_dir()
                .unwrap()
                .next()
                .is_none()
        );
        assert!(layers.list().unwrap().is_empty());
        // What fits still goes in.
        let small = Archive::of([Member::file("f", vec![1; 100_000])]);
        let layer = layers
            .import(&Digest::of(&small), &mut &small[..], &Limits::default())
            .unwrap();
        RootStore::open(directory.path())
            .unwrap()
            .compose(&[layer])
            .unwrap();
    });
    disk::unmount(directory.path());
    result.unwrap();
}

/// Set in the processes that [`spawn_importer`] starts: the home to import into.
const CHILD_HOME: &str = "IMAGE_TEST_CHILD_HOME";

/// This very program again, importing the sample from its standard input.
fn spawn_importer(home: &Path) -> Child {
    importer(&std::env::current_exe().unwrap(), home)
        .spawn()
        .unwrap()
}

fn importer(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "importer_process", "--nocapture"])
        .env(CHILD_HOME, home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Not a test of its own: what the processes of the tests below do.
#[test]
fn importer_process() {
    let Some(home) = std::env::var_os(CHILD_HOME) else {
        return;
    };
    let layers = LayerStore::open(Path::new(&home)).unwrap();
    let diff_id = Digest::of(&sample());
    let layer = layers
        .import(&diff_id, &mut std::io::stdin().lock(), &Limits::default())
        .unwrap();
    RootStore::open(Path::new(&home))
        .unwrap()
        .compose(&[layer])
        .unwrap();
}

#[test]
fn a_killed_import_leaves_nothing_that_counts_and_is_swept() {
    let home = Home::new();
    let tar = sample();
    let mut child = spawn_importer(&home.path());
    let mut stdin = child.stdin.take().unwrap();
    // Blocks until the child has read all but what the pipe holds, so it is in the middle of the archive.
    stdin.write_all(&tar[..2 << 20]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(home.leftovers().len(), 1, "the child was not importing");
    assert_eq!(home.layers.get(&Digest::of(&tar)).unwrap(), None);
    assert!(home.layers.list().unwrap().is_empty());
    let layer = home.import(&tar).unwrap();
    home.layers.verify(&layer).unwrap();
    assert!(home.leftovers().is_empty(), "not swept");
}

#[test]
fn work_in_progress_of_the_living_is_not_swept() {
    let home = Home::new();
    let tar = sample();
    let mut child = spawn_importer(&home.path());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&tar[..2 << 20]).unwrap();
    // Sweeps before it begins.
    home.import(&Archive::of([Member::file("other", "x")]))
        .unwrap();
    assert_eq!(home.leftovers().len(), 1);
    stdin.write_all(&tar[2 << 20..]).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    home.layers
        .verify(&home.layers.get(&Digest::of(&tar)).unwrap().unwrap())
        .unwrap();
    assert!(home.leftovers().is_empty());
}

#[test]
fn many_processes_importing_the_same_layer_all_succeed() {
    let home = Home::new();
    let tar = sample();
    let mut children: Vec<Child> = (0..8).map(|_| spawn_importer(&home.path())).collect();
    let mut inputs: Vec<_> = children
        .iter_mut()
        .map(|child| child.stdin.take().unwrap())
        .collect();
    // In step, so that all are in the middle at the same time. One that finds the layer there stops reading.
    for chunk in tar.chunks(64 << 10) {
        inputs.retain_mut(|input| input.write_all(chunk).is_ok());
    }
    drop(inputs);
    for child in &mut children {
        let mut said = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{said}");
    }
    assert_eq!(home.layers.list().unwrap().len(), 1);
    home.layers.verify(&home.layers.list().unwrap()[0]).unwrap();
    assert_eq!(home.roots.list().unwrap().len(), 1);
    assert!(home.leftovers().is_empty());
}

/// Owners, devices and `trusted.` attributes are entries of an index: nothing of an import needs to be root.
#[test]
fn an_unprivileged_user_can_import_and_compose() {
    require_root();
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    // The test program may lie where only root can go.
    let program = directory.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let home = directory.path().join("h".repeat(200)).join("home");
    let mut child = importer(&program, &home)
        .uid(NOBODY)
        .gid(NOBODY)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&sample()).unwrap();
    assert!(child.wait().unwrap().success());
    let layers = LayerStore::open(&home).unwrap();
    layers
        .verify(&layers.get(&Digest::of(&sample())).unwrap().unwrap())
        .unwrap();
}
