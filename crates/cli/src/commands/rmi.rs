//! `rmi`

use super::{each, image};
use crate::args::{self, Refusal};
use supermachine::Runtime;
use supermachine::images::{Removed, StoreError};

/// Removes names of images, and images with their last name.
pub fn carry_out(args: &args::Rmi) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    let store = runtime.store()?;
    // As long as they are held, the store keeps them.
    let _needed = runtime.images_of_snapshots()?;
    each::in_turn(&args.images, |text| {
        match store.remove(&image::reference(text)?) {
            Ok(removed) => Ok(lines(&removed)),
            Err(StoreError::InUse { reference, digest }) => {
                let snapshots = snapshots_of(&runtime, &digest.to_string())?;
                let error = supermachine::Error::from(StoreError::InUse { reference, digest });
                Err(explained(error, text, &snapshots))
            }
            Err(error) => Err(supermachine::Error::from(error).into()),
        }
    })
}

/// The names of snapshots that need an image.
fn snapshots_of(runtime: &Runtime, digest: &str) -> anyhow::Result<Vec<String>> {
    let infos = runtime.snapshots()?.into_iter();
    let needing = infos.filter(|info| info.image_digest.as_deref() == Some(digest));
    Ok(needing.map(|info| info.name).collect())
}

fn explained(error: supermachine::Error, image: &str, snapshots: &[String]) -> anyhow::Error {
    if snapshots.is_empty() {
        return error.into();
    }
    let snapshots = snapshots.join(", ");
    Refusal {
        message: format!("image {image} is needed by the snapshot {snapshots}"),
        hint: Some("`supermachine snapshot rm` removes snapshots".to_owned()),
    }
    .into()
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
