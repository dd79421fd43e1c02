//! Row 15: an image whose layers the store has already, but for one.

use super::Bench;
use super::boot::ms;
use super::contest::{Contender, alternate, needed};
use super::image::{Stage, TAG, pull};
use super::options::Price;
use super::registry::Meter;
use super::row::{Budget, Limit, Measured, Named};
use crate::command::Run;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the new layers hold: one small, one large file that does not compress.
const SMALL: Addition = Addition {
    tag: "small",
    bytes: 64 << 10,
};
const LARGE: Addition = Addition {
    tag: "large",
    bytes: 8 << 20,
};
/// Manifest, config, and the heads of the answers.
const OVERHEAD_KIB: f64 = 64.0;

/// A layer over the first image.
#[derive(Clone, Copy)]
struct Addition {
    tag: &'static str,
    bytes: usize,
}

/// In each turn one empty store takes the first image, then two that add a layer to it.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let stage = Stage::set(bench)?;
    let _layout = push_additions(&stage)?;
    let mut contender = [Contender::new("supermachine pull", || {
        let room = stage.fresh_room()?;
        [TAG, SMALL.tag, LARGE.tag]
            .iter()
            .map(|tag| {
                let took = pull(&stage.cli, room.path(), &stage.registry.reference(tag))?;
                Ok(ms(took.wall))
            })
            .collect()
    })];
    alternate(bench.options.runs(Price::Dear), &mut contender);
    let [ours] = &contender;
    let [first, small, large] = bytes_read(&stage)?;
    let beyond = |read: u64, addition: Addition| (read as f64 - addition.bytes as f64) / 1024.0;
    Ok(Measured {
        plot: None,
        ours: needed(ours, 1)?,
        peer: Some(Named {
            name: "the first image, into an empty store".into(),
            summary: needed(ours, 0)?,
        }),
        budget: Budget::LimitsOnly,
        limits: vec![
            Limit {
                name: "read beyond a new layer of 64 KiB, KiB",
                value: beyond(small, SMALL),
                at_most: OVERHEAD_KIB,
            },
            Limit {
                name: "read beyond a new layer of 8 MiB, KiB",
                value: beyond(large, LARGE),
                at_most: OVERHEAD_KIB,
            },
        ],
        also: vec![Named {
            name: "supermachine, with a new layer of 8 MiB".into(),
            summary: needed(ours, 2)?,
        }],
        notes: vec![format!(
            "bytes read from the registry: {first} for the first image, {small} and {large} for the others"
        )],
    })
}

/// Copies the layout, puts a file over the image twice, and pushes both.
fn push_additions(stage: &Stage) -> Result<tempfile::TempDir> {
    let room = stage.fresh_room()?;
    let layout = room.path().join("layout");
    // The name in the target directory is a link to the cache, which must stay as it is.
    let original: PathBuf = std::fs::canonicalize(&stage.layout)?;
    Command::new("cp")
        .args(["--recursive", "--preserve=timestamps"])
        .args([&original, &layout])
        .checked()?;
    for addition in [SMALL, LARGE] {
        let file = room.path().join(addition.tag);
        std::fs::write(&file, noise(addition.bytes))?;
        insert(&layout, addition.tag, &file)?;
        stage.registry.push(&layout, addition.tag)?;
    }
    Ok(room)
}

fn insert(layout: &Path, tag: &str, file: &Path) -> Result<()> {
    let mut umoci = Command::new("umoci");
    umoci
        .args(["insert", "--image"])
        .arg(format!("{}:{TAG}", layout.display()))
        .args(["--tag", tag]);
    if !rustix::process::geteuid().is_root() {
        umoci.arg("--rootless");
    }
    umoci.arg(file).arg("/opt/noise").text().map(drop)
}

/// The same bytes every time, and none of them to be guessed by a compressor (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A count, so one turn is enough: apart from the clock, for the meter is in the way.
fn bytes_read(stage: &Stage) -> Result<[u64; 3]> {
    let room = stage.fresh_room()?;
    let meter = Meter::start(&stage.registry)?;
    let mut counts = [0; 3];
    for (count, tag) in counts.iter_mut().zip([TAG, SMALL.tag, LARGE.tag]) {
        pull(&stage.cli, room.path(), &meter.reference(tag))?;
        *count = meter.take();
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_length_asked_for_and_repeats_itself_nowhere() {
        let bytes = noise(1001);
        assert_eq!(bytes.len(), 1001);
        let words: std::collections::HashSet<&[u8]> = bytes.chunks(8).collect();
        assert_eq!(words.len(), 126);
    }
}
