//! What the tests of this crate share. Each test binary uses a part of it.
#![allow(dead_code)]

pub mod archive;
pub mod disk;
pub mod layout;
pub mod manifest;
pub mod tools;
