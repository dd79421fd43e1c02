//! An image with everything that image tools get wrong, in six layers, and a variant with 100 more.

use super::layout::{Compression, Layout};
use super::tarball::{Entry, Tarball};
use super::{Recipe, busybox, inputs_with_code, testbox};
use crate::digest;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;

const TINY_LAYERS: usize = 100;

/// A version 2 `security.capability` (linux/capability.h): cap_net_bind_service, permitted and effective.
const NET_BIND_SERVICE: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The image `awkward`.
pub fn six_layers() -> Result<Recipe> {
    recipe(0)
}

/// The image `tiny-layers`.
pub fn many_layers() -> Result<Recipe> {
    recipe(TINY_LAYERS)
}

fn recipe(tiny_layers: usize) -> Result<Recipe> {
    let program = testbox::program()?;
    Ok(Recipe {
        inputs: inputs_with_code([
            busybox::version()?,
            digest::of_bytes(&program),
            tiny_layers.to_string(),
        ]),
        make: Box::new(move |room, image| make(room, image, &program, tiny_layers)),
    })
}

fn make(room: &Path, image: &Path, program: &[u8], tiny_layers: usize) -> Result<()> {
    let mut layout = Layout::create(image)?;
    layout.layer(&ground(room, program)?, Compression::Gzip)?;
    for (tar, compression) in [
        (whiteouts()?, Compression::Gzip),
        (opaque()?, Compression::Plain),
        (links_and_modes()?, Compression::Gzip),
        (names_times_and_sizes()?, Compression::Gzip),
        (changed_types()?, Compression::Plain),
    ] {
        layout.layer(&tar, compression)?;
    }
    for number in 0..tiny_layers {
        layout.layer(
            &tiny(number)?,
            if number % 2 == 0 {
                Compression::Gzip
            } else {
                Compression::Plain
            },
        )?;
    }
    layout.finish(&config())
}

fn config() -> Value {
    json!({
        "User": "worker:crew",
        "Env": [
            "PATH=/bin",
            "SPACES=one two  three ",
            "QUOTES=she said \"it's\" `fine` $HOME \\",
            "LINES=first\nsecond\n\nfourth",
            "EMPTY=",
            "UNICODE=naïve ☃",
        ],
        "Entrypoint": ["/bin/testbox"],
        "Cmd": ["argv", "two words", "\"quoted\"", "", "line\nbreak"],
        "WorkingDir": "/srv/not there/yet",
        "StopSignal": "SIGUSR1",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/var/lib/a volume": {}},
        "Labels": {"purpose": "to be awkward"},
    })
}

/// Layer 1: programs, users, and what the layers above take away.
fn ground(room: &Path, program: &[u8]) -> Result<Vec<u8>> {
    let mut tar = Tarball::new();
    busybox::add_busybox(&mut tar, room)?;
    tar.add(&Entry::file(b"bin/testbox", program).mode(0o755))?;
    tar.add(&Entry::directory(b"etc"))?;
    tar.add(&Entry::file(
        b"etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nworker:x:1234:1234::/home/worker:/bin/sh\n",
    ))?;
    tar.add(&Entry::file(
        b"etc/group",
        b"root:x:0:\nworker:x:1234:\ncrew:x:2345:\nextra:x:3456:root,worker\n",
    ))?;
    tar.add(&Entry::directory(b"home"))?;
    tar.add(
        &Entry::directory(b"home/worker")
            .mode(0o700)
            .owner(1234, 1234),
    )?;
    for directory in [
        "var",
        "var/data",
        "var/old",
        "var/old/deep",
        "var/hidden",
        "var/hidden/sub",
        "var/to-file",
    ] {
        tar.add(&Entry::directory(directory.as_bytes()))?;
    }
    for file in [
        "var/data/keep",
        "var/data/gone",
        "var/old/a",
        "var/old/deep/b",
        "var/hidden/x",
        "var/hidden/sub/z",
    ] {
        tar.add(&Entry::file(file.as_bytes(), file.as_bytes()))?;
    }
    tar.add(&Entry::file(
        b"var/to-file/inner",
        b"goes with its directory",
    ))?;
    tar.add(&Entry::file(b"var/to-directory", b"becomes a directory"))?;
    tar.add(&Entry::file(b"var/to-symlink", b"becomes a link"))?;
    tar.finish()
}

/// Layer 2: a file and a directory taken away.
fn whiteouts() -> Result<Vec<u8>> {
    let mut tar = Tarball::new();
    tar.add(&Entry::directory(b"var"))?;
    tar.add(&Entry::file(b"var/.wh.old", b""))?;
    tar.add(&Entry::directory(b"var/data").mode(0o711).owner(1234, 2345))?;
    tar.add(&Entry::file(b"var/data/.wh.gone", b""))?;
    tar.finish()
}

/// Layer 3: a directory whose lower contents are hidden.
fn opaque() -> Result<Vec<u8>> {
    let mut tar = Tarball::new();
    tar.add(&Entry::directory(b"var/hidden"))?;
    tar.add(&Entry::file(b"var/hidden/.wh..wh..opq", b""))?;
    tar.add(&Entry::file(b"var/hidden/new", b"the only one left"))?;
    tar.finish()
}

/// Layer 4: links, special files, permission bits, attributes.
fn links_and_modes() -> Result<Vec<u8>> {
    let mut tar = Tarball::new();
    tar.add(&Entry::directory(b"odd"))?;
    tar.add(&Entry::file(b"odd/name one", b"one file, three names"))?;
    tar.add(&Entry::hardlink(b"odd/name two", b"odd/name one"))?;
    tar.add(&Entry::directory(b"odd/sub"))?;
    tar.add(&Entry::hardlink(b"odd/sub/name three", b"odd/name one"))?;
    tar.add(&Entry::symlink(
        b"odd/escape",
        b"../../../../../../etc/passwd",
    ))?;
    tar.add(&Entry::symlink(b"odd/dangling", b"/no/such/thing"))?;
    tar.add(&Entry::symlink(b"odd/loop", b"loop"))?;
    tar.add(
        &Entry::file(b"odd/capable", b"#!/bin/sh\n")
            .mode(0o755)
            .xattr("security.capability", NET_BIND_SERVICE),
    )?;
    tar.add(&Entry::file(b"odd/attributes", b"").xattr("user.note", b"kept \x00 as bytes"))?;
    tar.add(&Entry::directory(b"odd/directory attributes").xattr("user.note", b"on a directory"))?;
    tar.add(&Entry::file(b"odd/setuid", b"").mode(0o4755))?;
    tar.add(&Entry::file(b"odd/setgid", b"").mode(0o2755).owner(0, 2345))?;
    tar.add(&Entry::directory(b"odd/sticky").mode(0o1777))?;
    tar.add(&Entry::file(b"odd/locked", b"for root").mode(0o000))?;
    tar.add(&Entry::file(b"odd/far owner", b"").owner(70_000, 80_000))?;
    tar.add(&Entry::fifo(b"odd/pipe"))?;
    tar.add(&Entry::character(b"odd/null", 1, 3))?;
    tar.finish()
}

/// Layer 5: names, times and sizes at the edges.
fn names_times_and_sizes() -> Result<Vec<u8>> {
    let mut sparse = vec![0; 10 << 20];
    sparse[..5].copy_from_slice(b"begin");
    sparse[(5 << 20) + 123..][..6].copy_from_slice(b"middle");
    let long_name = [b"edge/".to_vec(), vec![b'n'; 200]].concat();
    let long_target = vec![b't'; 300];
    let mut tar = Tarball::new();
    tar.add(&Entry::directory(b"edge"))?;
    tar.add(&Entry::file(&long_name, b"200 bytes of name"))?;
    tar.add(&Entry::symlink(b"edge/long target", &long_target))?;
    tar.add(&Entry::file("edge/grün ☃ 雪".as_bytes(), b"text"))?;
    tar.add(&Entry::file(b"edge/not \xff\xfe text", b"bytes"))?;
    tar.add(&Entry::file(b"edge/new\nline and \\ and \"", b""))?;
    tar.add(&Entry::file(b"edge/epoch", b"").mtime(0, 0))?;
    tar.add(&Entry::file(b"edge/nanoseconds", b"").mtime(1_600_000_000, 123_456_789))?;
    tar.add(&Entry::file(b"edge/after 2038", b"").mtime(5_000_000_000, 0))?;
    tar.add(&Entry::file(b"edge/sparse", &sparse))?;
    for size in [0, 1, 4095, 4096, 4097, 8192] {
        let contents = vec![b'x'; size];
        tar.add(&Entry::file(
            format!("edge/size {size}").as_bytes(),
            &contents,
        ))?;
    }
    tar.finish()
}

/// Layer 6: entries that are something else now, and one that is back.
fn changed_types() -> Result<Vec<u8>> {
    let mut tar = Tarball::new();
    tar.add(&Entry::directory(b"var"))?;
    tar.add(&Entry::file(b"var/to-file", b"was a directory"))?;
    tar.add(&Entry::directory(b"var/to-directory").mode(0o750))?;
    tar.add(&Entry::file(b"var/to-directory/inner", b"was a file"))?;
    tar.add(&Entry::symlink(b"var/to-symlink", b"data/keep"))?;
    tar.add(&Entry::directory(b"var/old"))?;
    tar.add(&Entry::file(
        b"var/old/back",
        b"in a directory that was taken away",
    ))?;
    tar.finish()
}

/// Layer `7 + number` of the variant: adds a file, overwrites one, and takes every third away again.
fn tiny(number: usize) -> Result<Vec<u8>> {
    let mut tar = Tarball::new();
    tar.add(&Entry::directory(b"tiny"))?;
    tar.add(&Entry::file(b"tiny/last", number.to_string().as_bytes()))?;
    tar.add(&Entry::file(
        format!("tiny/{number:03}").as_bytes(),
        format!("layer {number}\n").as_bytes(),
    ))?;
    if number % 3 == 2 {
        tar.add(&Entry::file(
            format!("tiny/.wh.{:03}", number - 1).as_bytes(),
            b"",
        ))?;
    }
    tar.finish()
}
