//! What the tests of sources and of the store share: images made by hand and a registry that misbehaves on request.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod image;
pub mod peer;
pub mod recorder;
pub mod shelf;
pub mod tools;
