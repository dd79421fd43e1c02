//! `rmi`

use super::{each, image};
use crate::args;
use supermachine::Runtime;
use supermachine::images::Removed;

/// Removes names of images, and images with their last name.
pub fn carry_out(args: &args::Rmi) -> anyhow::Result<u8> {
    let store = Runtime::new()?.store()?;
    each::in_turn(&args.images, |text| {
        let removed = store
            .remove(&image::reference(text)?)
            .map_err(supermachine::Error::from)?;
        Ok(lines(&removed))
    })
}

/// What Docker prints.
fn lines(removed: &Removed) -> String {
    let names = removed.names.iter().map(|name| format!("Untagged: {name}"));
    let image = removed
        .image
        .iter()
        .map(|digest| format!("Deleted: {digest}"));
    names.chain(image).collect::<Vec<_>>().join("\n")
}
