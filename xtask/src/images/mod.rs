//! The images tests run, made here from Debian's packages and our own test program.
//!
//! Each is an OCI layout with the tag `latest`, made when asked for, cached by what went into it, and
//! linked as `TARGET/test-images/NAME`, where tests look for it.

mod awkward;
mod busybox;
mod debian;
mod layout;
mod registers;
mod tarball;
mod testbox;

use crate::cache::Cache;
use crate::{digest, needs, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A test image.
pub struct Image {
    /// As on the command line and in test code.
    pub name: &'static str,
    help: &'static str,
    recipe: fn() -> Result<Recipe>,
}

/// How to make an image.
struct Recipe {
    /// Everything that decides what comes out: code, texts, versions, digests.
    inputs: Vec<String>,
    make: Box<Make>,
}

/// Writes the layout into the (not yet existing) second directory; the first is room for work.
type Make = dyn FnOnce(&Path, &Path) -> Result<()>;

/// What the tests run.
pub const ALL: &[Image] = &[
    Image {
        name: "busybox",
        help: "busybox and nothing else",
        recipe: busybox::recipe,
    },
    Image {
        name: "static",
        help: "one static program: no shell, no libc, no /etc; zstd",
        recipe: testbox::recipe,
    },
    Image {
        name: "registers",
        help: "one static program that fills every register and looks after them",
        recipe: registers::recipe,
    },
    Image {
        name: "awkward",
        help: "whiteouts, odd names, odd modes, odd config",
        recipe: awkward::six_layers,
    },
    Image {
        name: "tiny-layers",
        help: "awkward, and 100 small layers over it",
        recipe: awkward::many_layers,
    },
    Image {
        name: "python3",
        help: "Debian with python3",
        recipe: debian::python3,
    },
    Image {
        name: "nginx",
        help: "Debian with nginx",
        recipe: debian::nginx,
    },
    Image {
        name: "redis",
        help: "Debian with redis, which runs as user redis",
        recipe: debian::redis,
    },
    Image {
        name: "workbench",
        help: "Debian with gcc, PostgreSQL, packet filters, s6 and systemd",
        recipe: debian::workbench,
    },
];

/// What only the bench runs.
const BENCH: &[Image] = &[
    Image {
        name: "fio",
        help: "Debian with fio, for the bench",
        recipe: debian::fio,
    },
    Image {
        name: "browser",
        help: "Debian with Chromium, for the bench",
        recipe: debian::browser,
    },
    Image {
        name: "runtimes",
        help: "Debian with Java and Node, for the bench",
        recipe: debian::runtimes,
    },
];

/// Part of every cache key: the code that makes the small images. A change of a comment makes them again,
/// which takes a second; a change that was forgotten to be counted would cost somebody a day.
const RECIPES: &[&str] = &[
    include_str!("awkward.rs"),
    include_str!("busybox.rs"),
    include_str!("testbox.rs"),
    include_str!("layout.rs"),
    include_str!("tarball.rs"),
];

/// The inputs of a small image: our code, and these.
fn inputs_with_code(inputs: impl IntoIterator<Item = String>) -> Vec<String> {
    RECIPES
        .iter()
        .map(|&code| code.to_owned())
        .chain(inputs)
        .collect()
}

/// `cargo xtask images [NAME]...`
pub fn run(arguments: &[String]) -> Result<()> {
    let chosen: Vec<&Image> = match arguments {
        [] => ALL.iter().collect(),
        names => names.iter().map(|name| find(name)).collect::<Result<_>>()?,
    };
    needs::ensure(&[needs::BUILD, needs::IMAGES])?;
    for path in ensure(chosen)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// The layouts of these images, made where the cache has none.
pub fn ensure<'a>(images: impl IntoIterator<Item = &'a Image>) -> Result<Vec<PathBuf>> {
    images
        .into_iter()
        .map(|image| {
            image
                .ensure()
                .with_context(|| format!("image {}", image.name))
        })
        .collect()
}

/// The image of that name.
pub fn find(name: &str) -> Result<&'static Image> {
    let all = || ALL.iter().chain(BENCH);
    if let Some(image) = all().find(|image| image.name == name) {
        return Ok(image);
    }
    let known: Vec<String> = all()
        .map(|image| format!("  {:<12} {}", image.name, image.help))
        .collect();
    bail!("`{name}` is no test image; there are\n{}", known.join("\n"))
}

impl Image {
    fn ensure(&self) -> Result<PathBuf> {
        let recipe = (self.recipe)()?;
        let key = format!("{}-{}", self.name, digest::key(&recipe.inputs));
        let dir = Cache::open("images")?.get_or_make(&key, |work| {
            eprintln!("      image {}: making it", self.name);
            let room = work.join("room");
            fs::create_dir(&room)?;
            (recipe.make)(&room, &work.join(self.name))?;
            crate::cache::remove_tree(&room)
        })?;
        link(&dir.join(self.name), self.name)
    }
}

/// Points `TARGET/test-images/NAME` to a layout in the cache.
fn link(layout: &Path, name: &str) -> Result<PathBuf> {
    let dir = workspace::target()?.join("test-images");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let path = dir.join(name);
    if fs::read_link(&path).is_ok_and(|target| target == layout) {
        return Ok(path);
    }
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    std::os::unix::fs::symlink(layout, &temporary)
        .with_context(|| temporary.display().to_string())?;
    fs::rename(&temporary, &path).with_context(|| format!("publish {}", path.display()))?;
    Ok(path)
}
