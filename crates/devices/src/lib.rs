//! The guest's hardware. A device takes guest memory, an interrupt and a backend; it owns no thread, no
//! clock and no KVM handle, so that each can be tested with a few bytes of memory and a queue.
#![forbid(unsafe_code)]

pub mod serial;
pub mod virtio;

/// Guest memory as every device sees it.
pub type GuestMemory = vm_memory::GuestMemoryMmap<()>;
