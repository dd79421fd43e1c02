//! What a caller may want to know while a VM starts.

use std::fmt;
use std::sync::Arc;

/// Something that takes longer than a start should, or goes another way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The first VM of this shape: a template is made, about a second.
    PreparingTemplate {
        /// Memory of the machine in MiB.
        memory_mib: u32,
        /// Virtual CPUs.
        vcpus: u8,
    },
    /// No template could be made; the VM boots a kernel of its own.
    ColdBoot {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PreparingTemplate { memory_mib, vcpus } => {
                let plural = if *vcpus == 1 { "" } else { "s" };
                write!(
                    f,
                    "preparing a template for {memory_mib} MiB, {vcpus} vCPU{plural} (once)"
                )
            }
            Self::ColdBoot { reason } => {
                write!(
                    f,
                    "booting without a template, which could not be made: {reason}"
                )
            }
        }
    }
}

/// Who is told.
#[derive(Clone, Default)]
pub(crate) struct Notices(Option<Arc<Tell>>);

type Tell = dyn Fn(&Notice) + Send + Sync;

impl Notices {
    pub(crate) fn new(tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        tracing::info!(%notice, "starting a VM");
        if let Some(tell) = &self.0 {
            tell(notice);
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notices")
    }
}
