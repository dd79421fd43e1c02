//! The memory balloon (virtio 1.2, section 5.5), for one thing only: the guest reports pages it does not use, and the
//! host gets them back. There is never anything in the balloon itself.
//!
//! ```text
//! reporting queue -> ranges of free pages -> Reclaim (the VMM gives them back) -> answer: the guest may use them again
//! ```
//!
//! What a page holds after it was reported is nobody's business: a driver that cares (one that fills or clears pages
//! when they are freed) does not report any unless the device promises a value, which this one does not.

mod device;

#[cfg(test)]
mod tests;

pub use device::{Balloon, Reclaim};
