//! How a device asks for another turn.

/// Rings the event loop on the device's behalf.
///
/// A device works a bounded amount per call, so that a busy queue cannot keep the loop from the other devices
/// and from the control socket. What is left over is picked up on a later turn: the loop answers a ring by
/// notifying each of the device's queues, exactly as if the driver had (the VMM writes the eventfd that the
/// driver's notifications arrive on).
pub trait Doorbell: Send {
    /// Asks for one more turn.
    fn ring(&self);
}
