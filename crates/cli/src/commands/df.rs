//! `df`

use crate::args;
use crate::exit_code;
use crate::output::table::Table;
use crate::output::{json, stdout, units};
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use supermachine::images::Usage;
use supermachine::{Runtime, SavedUsage};

/// Shows what takes up space.
pub fn carry_out(args: &args::Df) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    let usage = runtime
        .store()?
        .usage()
        .map_err(supermachine::Error::from)?;
    let others = Others {
        templates: runtime.template_usage()?,
        snapshots: runtime.snapshot_usage()?,
        ..Others::of(runtime.home(), runtime.vms()?.len())
    };
    let rows = rows(&usage, &others);
    if args.json.json {
        json::print(&rows)?;
    } else {
        stdout::write(table(&rows).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

/// What is not the image store's.
struct Others {
    vms: usize,
    vm_bytes: u64,
    kernel_bytes: u64,
    templates: SavedUsage,
    snapshots: SavedUsage,
}

impl Others {
    fn of(home: &Path, vms: usize) -> Self {
        let kernels = on_disk(&home.join("kernels"));
        Self {
            vms,
            vm_bytes: on_disk(&home.join("vms")) + on_disk(&home.join("scratch")),
            kernel_bytes: kernels,
            templates: SavedUsage::default(),
            snapshots: SavedUsage::default(),
        }
    }
}

/// Bytes below a path. What vanishes meanwhile takes nothing.
fn on_disk(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    own + std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| on_disk(&entry.path()))
        .sum::<u64>()
}

/// A line of the list. The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Row {
    #[serde(rename = "type")]
    kind: &'static str,
    count: Option<usize>,
    bytes: u64,
    /// What `prune` would free.
    reclaimable: u64,
}

fn rows(usage: &Usage, others: &Others) -> Vec<Row> {
    let row = |kind, count, bytes, reclaimable| Row {
        kind,
        count,
        bytes,
        reclaimable,
    };
    let saved =
        |kind, usage: SavedUsage| row(kind, Some(usage.count), usage.bytes, usage.reclaimable);
    vec![
        row(
            "images",
            Some(usage.images),
            usage.image_bytes + usage.root_bytes,
            0,
        ),
        row(
            "layers",
            Some(usage.layers),
            usage.layer_bytes,
            usage.unused_bytes,
        ),
        row("unfinished", None, usage.tmp_bytes, 0),
        row("vms", Some(others.vms), others.vm_bytes, 0),
        row("kernels", None, others.kernel_bytes, 0),
        saved("templates", others.templates),
        saved("snapshots", others.snapshots),
    ]
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(["TYPE", "COUNT", "SIZE", "RECLAIMABLE"]);
    for row in rows {
        let count = row
            .count
            .map_or_else(String::new, |count| count.to_string());
        table.row([
            row.kind.to_owned(),
            count,
            units::size(row.bytes),
            units::size(row.reclaimable),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Row> {
        let usage = Usage {
            images: 3,
            image_bytes: 30_000,
            layers: 12,
            layer_bytes: 812_345_678,
            roots: 3,
            root_bytes: 2_000_000,
            unused_bytes: 45_000_000,
            tmp_bytes: 0,
        };
        rows(
            &usage,
            &Others {
                vms: 2,
                vm_bytes: 123_456,
                kernel_bytes: 20_000_000,
                templates: SavedUsage {
                    count: 2,
                    bytes: 40_000_000,
                    reclaimable: 20_000_000,
                },
                snapshots: SavedUsage::default(),
            },
        )
    }

    #[test]
    fn the_screen_and_the_json_are_frozen() {
        insta::assert_snapshot!(table(&example()), @"
        TYPE         COUNT   SIZE     RECLAIMABLE
        images       3       2.03MB   0B
        layers       12      812MB    45.0MB
        unfinished           0B       0B
        vms          2       123kB    0B
        kernels              20.0MB   0B
        templates    2       40.0MB   20.0MB
        snapshots    0       0B       0B
        ");
        insta::assert_snapshot!(json::render(&example()).unwrap(), @r#"
        [
          {
            "type": "images",
            "count": 3,
            "bytes": 2030000,
            "reclaimable": 0
          },
          {
            "type": "layers",
            "count": 12,
            "bytes": 812345678,
            "reclaimable": 45000000
          },
          {
            "type": "unfinished",
            "count": null,
            "bytes": 0,
            "reclaimable": 0
          },
          {
            "type": "vms",
            "count": 2,
            "bytes": 123456,
            "reclaimable": 0
          },
          {
            "type": "kernels",
            "count": null,
            "bytes": 20000000,
            "reclaimable": 0
          },
          {
            "type": "templates",
            "count": 2,
            "bytes": 40000000,
            "reclaimable": 20000000
          },
          {
            "type": "snapshots",
            "count": 0,
            "bytes": 0,
            "reclaimable": 0
          }
        ]
        "#);
    }
}
