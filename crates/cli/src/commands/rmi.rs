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
    let _needed = (runtime.images_of_snapshots()?, runtime.images_of_vms()?);
    each::in_turn(&args.images, |text| {
        match store.remove(&image::reference(text)?) {
            Ok(removed) => Ok(lines(&removed)),
            Err(StoreError::InUse { reference, digest }) => {
                let users = users_of(&runtime, &digest.to_string())?;
                let error = supermachine::Error::from(StoreError::InUse { reference, digest });
                Err(explained(error, text, &users))
            }
            Err(error) => Err(supermachine::Error::from(error).into()),
        }
    })
}

/// Who needs an image.
#[derive(Debug, Default)]
struct Users {
    snapshots: Vec<String>,
    vms: Vec<String>,
}

fn users_of(runtime: &Runtime, digest: &str) -> anyhow::Result<Users> {
    let infos = runtime.snapshots()?.into_iter();
    let snapshots = infos.filter(|info| info.image_digest.as_deref() == Some(digest));
    let vms = runtime.vms()?.into_iter();
    let vms = vms.filter(|vm| vm.image_digest == digest);
    Ok(Users {
        snapshots: snapshots.map(|info| info.name).collect(),
        vms: vms.map(|vm| vm.name).collect(),
    })
}

fn explained(error: supermachine::Error, image: &str, users: &Users) -> anyhow::Error {
    let (kind, names, hint) = if !users.vms.is_empty() {
        ("VM", &users.vms, "`supermachine rm` removes VMs")
    } else if !users.snapshots.is_empty() {
        let hint = "`supermachine snapshot rm` removes snapshots";
        ("snapshot", &users.snapshots, hint)
    } else {
        return error.into();
    };
    Refusal {
        message: format!("image {image} is needed by the {kind} {}", names.join(", ")),
        hint: Some(hint.to_owned()),
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
