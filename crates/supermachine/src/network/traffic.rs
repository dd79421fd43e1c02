//! What has passed the network card of a VM, in our words.

use super::{Passed, Traffic};
use proto::control;

/// From what the VMM counted.
pub(crate) const fn counted(traffic: control::Traffic) -> Traffic {
    Traffic {
        up: passed(traffic.up),
        down: passed(traffic.down),
    }
}

const fn passed(passed: control::Passed) -> Passed {
    Passed {
        bytes: passed.bytes,
        packets: passed.packets,
        held: passed.held,
    }
}
