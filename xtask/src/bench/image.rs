//! Row 14: an image from a registry on this machine to something a VM can boot from.

use super::Bench;
use super::boot::ms;
use super::contest::{Contender, alternate, needed};
use super::options::Price;
use super::registry::Registry;
use super::row::{Budget, Limit, Measured, Named};
use super::timed::{self, Took};
use crate::{images, needs, workspace};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The image of rows 14 and 15.
const IMAGE: &str = "redis";
/// Its tag in the layout and in the registry.
pub const TAG: &str = "latest";

/// Each turn starts with nothing but the registry.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let stage = Stage::set(bench)?;
    let reference = stage.registry.reference(TAG);
    let mut contenders = [
        Contender::new("supermachine pull", || {
            let room = stage.fresh_room()?;
            let took = pull(&stage.cli, room.path(), &reference)?;
            Ok(vec![ms(took.wall), took.peak_kib as f64 / 1024.0])
        }),
        Contender::new("skopeo copy + umoci unpack + mkfs.erofs", || {
            let room = stage.fresh_room()?;
            let steps = others(room.path(), &reference)?;
            let walls = steps.map(|step| ms(step.wall));
            let peak = steps.iter().map(|step| step.peak_kib).max();
            let mut figures = vec![walls.iter().sum(), peak.unwrap_or_default() as f64 / 1024.0];
            figures.extend(walls);
            Ok(figures)
        }),
    ];
    alternate(bench.options.runs(Price::Dear), &mut contenders);
    let [ours, peer] = &contenders;
    let also = [("skopeo copy", 2), ("umoci unpack", 3), ("mkfs.erofs", 4)];
    let named = |(name, figure): (&str, usize)| -> Result<Named> {
        Ok(Named {
            name: format!("of these, {name}"),
            summary: needed(peer, figure)?,
        })
    };
    Ok(Measured {
        ours: needed(ours, 0)?,
        peer: Some(Named {
            name: peer.name().to_owned(),
            summary: needed(peer, 0)?,
        }),
        budget: Budget::Ratio(0.5),
        limits: vec![Limit {
            name: "peak memory of supermachine pull, MiB",
            value: needed(ours, 1)?.p99,
            at_most: 64.0,
        }],
        also: also.into_iter().map(named).collect::<Result<_>>()?,
        notes: vec![
            format!(
                "{:.0} MiB compressed; each turn begins with an empty store and with nothing left to write to the \
                 disk; the registry's files are in the page cache for both",
                compressed_mib(&stage.layout)?
            ),
            format!(
                "the largest of the three held {:.0} MiB; ours verifies digests and syncs what it publishes, theirs \
                 do not sync; umoci also records a digest of every file",
                needed(peer, 1)?.p50
            ),
        ],
        plot: None,
    })
}

fn compressed_mib(layout: &Path) -> Result<f64> {
    let mut bytes = 0;
    for blob in std::fs::read_dir(layout.join("blobs").join("sha256"))? {
        bytes += blob?.metadata()?.len();
    }
    Ok(bytes as f64 / f64::from(1 << 20))
}

/// A registry with the image in it, and room on the disk that cargo's target directory is on.
pub struct Stage {
    /// The program under test.
    pub cli: PathBuf,
    /// Where the image is.
    pub registry: Registry,
    /// The image as a layout.
    pub layout: PathBuf,
    room: PathBuf,
}

impl Stage {
    /// Builds the image if the cache has none, starts the registry and pushes the image.
    pub fn set(bench: &Bench) -> Result<Self> {
        needs::ensure(&[needs::BENCH])?;
        let cli = bench.programs.cli()?;
        let layout = images::ensure([images::find(IMAGE)?])?
            .pop()
            .context("an image was asked for")?;
        let room = workspace::target()?.join("bench");
        std::fs::create_dir_all(&room)?;
        let registry = Registry::start(&room)?;
        registry.push(&layout, TAG)?;
        Ok(Self {
            cli,
            registry,
            layout,
            room,
        })
    }

    /// An empty directory, and nothing of earlier turns on its way to the disk.
    pub fn fresh_room(&self) -> Result<tempfile::TempDir> {
        let room = tempfile::tempdir_in(&self.room)?;
        rustix::fs::sync();
        Ok(room)
    }
}

/// `supermachine pull` into the store under `room`.
pub fn pull(cli: &Path, room: &Path, reference: &str) -> Result<Took> {
    let mut command = Command::new(cli);
    command
        .env("SUPERMACHINE_HOME", room.join("home"))
        .args(["pull", "--quiet", reference]);
    timed::run(&command)
}

/// What one does without us.
fn others(room: &Path, reference: &str) -> Result<[Took; 3]> {
    let (layout, bundle) = (room.join("layout"), room.join("bundle"));
    let mut skopeo = Command::new("skopeo");
    skopeo
        .args(["copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{reference}"))
        .arg(format!("oci:{}:{TAG}", layout.display()));
    let mut umoci = Command::new("umoci");
    umoci
        .arg("unpack")
        .arg("--image")
        .arg(format!("{}:{TAG}", layout.display()))
        .arg(&bundle);
    if !rustix::process::geteuid().is_root() {
        umoci.arg("--rootless");
    }
    let mut erofs = Command::new("mkfs.erofs");
    erofs
        .arg("--quiet")
        .arg(room.join("root.erofs"))
        .arg(bundle.join("rootfs"));
    Ok([
        timed::run(&skopeo)?,
        timed::run(&umoci)?,
        timed::run(&erofs)?,
    ])
}
