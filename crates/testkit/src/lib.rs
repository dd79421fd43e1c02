//! Test VMs, test images, a loopback registry and the host probe.
#![forbid(unsafe_code)]
