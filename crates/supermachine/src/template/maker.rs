//! Making a template: booting a machine that sees no image, and saving it.

use super::{Notice, Shape, Templates};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::record::{CONSOLE, VMM_LOG};
use crate::saved::{self, Content, MEMORY_FILE, Origin, STATE_FILE, ShelfLock, Staging};
use crate::vmm::VmmProcess;
use ::snapshot::manifest::Kind;
use proto::control::{Contents, KernelFlavor};
use serde_json::json;

/// Makes the template of a shape and puts it in place. Killed at any point, the maker leaves a hidden directory that the
/// next one removes.
pub(super) fn make(
    templates: &Templates<'_>,
    shape: &Shape,
    _lock: &ShelfLock,
    deadline: Deadline,
) -> Result<(), Error> {
    templates.notices.tell(&Notice::PreparingTemplate {
        memory_mib: shape.memory_mib,
        vcpus: shape.vcpus,
    });
    let shelf = templates.home.templates();
    shelf.sweep()?;
    if let Err(error) = super::care::collect(templates.home) {
        tracing::warn!(%error, "templates that nobody uses are left");
    }
    // One that is damaged would be in the way.
    super::care::retire(templates.home, shape.key())?;
    let staging = Staging::create(shelf.dir())?;
    let (kernel, pages) = boot_and_save(templates, shape, &staging, deadline)?;
    let origin = Origin {
        assets: templates.assets,
        kernel,
        memory_mib: shape.memory_mib,
        vcpus: shape.vcpus,
        base: None,
    };
    let content = Content {
        kind: Kind::Template,
        name: shape.key().to_owned(),
        pages,
        image: None,
        disks: Vec::new(),
        workload: json!({}),
    };
    saved::seal(&staging, &origin, content)?;
    // The lock is ours, so nobody else has made it meanwhile.
    staging.publish(&shelf.path(shape.key()))?;
    Ok(())
}

fn boot_and_save(
    templates: &Templates<'_>,
    shape: &Shape,
    staging: &Staging,
    deadline: Deadline,
) -> Result<(KernelFlavor, u64), Error> {
    let late = || Error::Deadline {
        waiting_for: "the preparation of a template",
        limit: std::time::Duration::ZERO,
    };
    let assets = templates.assets;
    let console = staging.file(CONSOLE)?;
    let mut vmm = VmmProcess::spawn(
        &assets.vmm(),
        staging.dir().join(CONSOLE),
        staging.dir().join(VMM_LOG),
    )?;
    vmm.boot(assets, shape.memory_mib, shape.vcpus, &console)?;
    let kernel = vmm.wait_running(deadline)?.ok_or_else(late)?;
    vmm.wait_ready(deadline)?.ok_or_else(late)?;
    vmm.pause(deadline)?.ok_or_else(late)?;
    let (state, memory) = (staging.file(STATE_FILE)?, staging.file(MEMORY_FILE)?);
    let pages = vmm
        .save(Contents::Everything, &state, &memory, deadline)?
        .ok_or_else(late)?;
    Ok((kernel, pages))
}
