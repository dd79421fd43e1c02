//! Images that are whole Debian systems: a base from mmdebstrap, shared as their lowest layer, and
//! packages installed over it by buildah.

use super::Recipe;
use crate::cache::Cache;
use crate::command::Run;
use crate::{apt, digest, needs};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "bookworm";
/// Left out of the base: documentation is most of a package's files and no test reads it.
const EXCLUDED: &[&str] = &[
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
];
/// Packages whose versions stand for the base in its cache key.
const BASE_PACKAGES: &[&str] = &["base-files", "libc6"];

/// The image `python3`.
pub fn python3() -> Result<Recipe> {
    recipe("python3", "CMD [\"python3\"]")
}

/// The image `nginx`.
pub fn nginx() -> Result<Recipe> {
    recipe(
        "nginx-light",
        "EXPOSE 80\nSTOPSIGNAL SIGQUIT\nCMD [\"nginx\", \"-g\", \"daemon off;\"]",
    )
}

/// The image `redis`. Its user and its directory come from the package.
pub fn redis() -> Result<Recipe> {
    recipe(
        "redis-server",
        "USER redis\nWORKDIR /var/lib/redis\nEXPOSE 6379\nCMD [\"redis-server\"]",
    )
}

/// The image `workbench`: software whose authors expect much of a machine, in one image because the base and the
/// downloads are what takes time. A cluster of databases is what its story makes.
pub fn workbench() -> Result<Recipe> {
    recipe(
        "gcc libc6-dev iproute2 iptables nftables postgresql-15 s6 systemd-sysv",
        "ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         CMD [\"bash\"]",
    )
}

/// The image `runtimes`.
pub fn runtimes() -> Result<Recipe> {
    // Java's package fails to install without a directory for manuals, which the base has not.
    recipe_after(
        "RUN mkdir -p /usr/share/man/man1\n",
        "default-jre-headless nodejs",
        "CMD [\"node\"]",
    )
}

/// The image `browser`.
pub fn browser() -> Result<Recipe> {
    recipe("chromium", "CMD [\"chromium\"]")
}

/// The image `fio`.
pub fn fio() -> Result<Recipe> {
    recipe("fio", "CMD [\"fio\", \"--version\"]")
}

fn recipe(packages: &'static str, run: &str) -> Result<Recipe> {
    recipe_after("", packages, run)
}

fn recipe_after(before: &str, packages: &'static str, run: &str) -> Result<Recipe> {
    needs::ensure(&[needs::IMAGES])?;
    let containerfile = containerfile(before, packages, run);
    let mut inputs = base_inputs()?;
    inputs.push(containerfile.clone());
    for package in packages.split(' ') {
        inputs.push(apt::candidate_version(package)?);
    }
    Ok(Recipe {
        inputs,
        make: Box::new(move |room, image| build(room, image, &containerfile)),
    })
}

fn containerfile(before: &str, packages: &str, run: &str) -> String {
    format!(
        "FROM localhost/base\n\
         {before}RUN apt-get -q update \\\n \
         && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends {packages} \\\n \
         && rm -rf /var/lib/apt/lists/* /var/cache/apt/* && find /var/log -type f -delete\n\
         {run}\n"
    )
}

fn base_inputs() -> Result<Vec<String>> {
    let mut inputs = vec![SUITE.to_owned(), EXCLUDED.join(" ")];
    for package in BASE_PACKAGES {
        inputs.push(apt::candidate_version(package)?);
    }
    Ok(inputs)
}

/// The base as an OCI layout, made once for all images over it.
fn base() -> Result<PathBuf> {
    let key = format!("debian-{}", digest::key(&base_inputs()?));
    let dir = Cache::open("images")?.get_or_make(&key, |work| {
        eprintln!("      Debian {SUITE}: making the base with mmdebstrap");
        let tar = work.join("base.tar");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--variant=minbase", "--include=ca-certificates"]);
        mmdebstrap.args(
            EXCLUDED
                .iter()
                .map(|path| format!("--dpkgopt=path-exclude={path}")),
        );
        mmdebstrap.arg("--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*");
        mmdebstrap.arg(SUITE).arg(&tar).logged(&work.join("log"))?;
        let buildah = Buildah::new(work);
        let container = buildah.command().args(["from", "scratch"]).text()?;
        buildah.run(&["add", &container, &tar.to_string_lossy(), "/"])?;
        buildah.run(&["config", "--cmd", "bash", &container])?;
        buildah.run(&["commit", "--rm", &container, "localhost/base"])?;
        buildah.run(&[
            "push",
            "localhost/base",
            &format!("oci:{}:latest", work.join("base").display()),
        ])?;
        fs::remove_file(&tar)?;
        buildah.remove()
    })?;
    Ok(dir.join("base"))
}

fn build(room: &Path, image: &Path, containerfile: &str) -> Result<()> {
    let file = room.join("Containerfile");
    fs::write(&file, containerfile)?;
    let buildah = Buildah::new(room);
    // A local image is named after its path, in which `.cache` would be no valid name: so a relative one.
    let base = base()?;
    let beside = base
        .parent()
        .context("the base is in a directory of the cache")?;
    buildah
        .command()
        .current_dir(beside)
        .args(["pull", "--quiet", "oci:base:latest"])
        .text()?;
    let (file, room) = (file.to_string_lossy(), room.to_string_lossy());
    buildah.run(&[
        "build",
        "--pull-never",
        "--file",
        &file,
        "--tag",
        "localhost/image",
        &room,
    ])?;
    buildah.run(&[
        "push",
        "localhost/image",
        &format!("oci:{}:latest", image.display()),
    ])?;
    buildah.remove()
}

/// buildah with a store of its own, so that nothing of the machine's is read or changed.
struct Buildah {
    store: PathBuf,
    log: PathBuf,
}

impl Buildah {
    fn new(dir: &Path) -> Self {
        Self {
            store: dir.join("buildah"),
            log: dir.join("buildah.log"),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        // The chroot isolation needs neither a container runtime nor cgroups.
        command
            .env("BUILDAH_ISOLATION", "chroot")
            .env("STORAGE_DRIVER", "overlay");
        command
            .arg("--root")
            .arg(self.store.join("root"))
            .arg("--runroot")
            .arg(self.store.join("run"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.command().args(arguments).logged(&self.log)
    }

    /// Removes the store; its overlay directories may still be mounted.
    fn remove(self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
        let store = self.store.to_string_lossy().into_owned();
        let points = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|point| point.starts_with(&store));
        for point in points {
            Command::new("umount").arg(point).checked()?;
        }
        crate::cache::remove_tree(&self.store)
    }
}
