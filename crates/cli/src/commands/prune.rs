//! `prune`

use crate::args;
use crate::exit_code;
use crate::output::{json, stdout, units};
use serde::Serialize;
use supermachine::Runtime;
use supermachine::images::{PruneScope, Reclaimed};

/// Removes images without a name, layers and half-done work that no image needs, and templates that are of no use.
pub fn carry_out(args: &args::Prune) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    let store = runtime.store()?;
    // As long as they are held, the store keeps them.
    let _needed = (runtime.images_of_snapshots()?, runtime.images_of_vms()?);
    let mut reclaimed = store
        .prune(PruneScope::Dangling)
        .map_err(supermachine::Error::from)?;
    let templates = runtime.prune_templates()?;
    reclaimed.bytes += templates.bytes;
    if args.json.json {
        json::print(&Json::new(&reclaimed, templates.count))?;
    } else {
        stdout::write(text(&reclaimed).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

/// The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Json {
    images: Vec<String>,
    layers: usize,
    roots: usize,
    unfinished: usize,
    templates: usize,
    bytes: u64,
}

impl Json {
    fn new(reclaimed: &Reclaimed, templates: usize) -> Self {
        Self {
            images: reclaimed.images.iter().map(ToString::to_string).collect(),
            layers: reclaimed.layers,
            roots: reclaimed.roots,
            unfinished: reclaimed.stale,
            templates,
            bytes: reclaimed.bytes,
        }
    }
}

fn text(reclaimed: &Reclaimed) -> String {
    let images: String = reclaimed
        .images
        .iter()
        .map(|digest| format!("Deleted: {digest}\n"))
        .collect();
    format!("{images}Reclaimed: {}\n", units::size(reclaimed.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_and_the_json_are_frozen() {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let reclaimed = Reclaimed {
            images: vec![digest],
            layers: 3,
            roots: 1,
            stale: 2,
            bytes: 12_345_678,
        };
        insta::assert_snapshot!(text(&reclaimed), @"
        Deleted: sha256:abababababababababababababababababababababababababababababababab
        Reclaimed: 12.3MB
        ");
        insta::assert_snapshot!(json::render(&Json::new(&reclaimed, 1)).unwrap(), @r#"
        {
          "images": [
            "sha256:abababababababababababababababababababababababababababababababab"
          ],
          "layers": 3,
          "roots": 1,
          "unfinished": 2,
          "templates": 1,
          "bytes": 12345678
        }
        "#);
    }
}
