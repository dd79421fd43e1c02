//! From an image to a command's output, through the command line and the library, on real KVM.
#![forbid(unsafe_code)]

mod awkward;
mod bounds;
mod contract;
mod crashes;
mod distroless;
mod files;
mod kills;
mod lives;
mod members;
mod network;
mod network_programs;
mod people;
mod programs;
mod registers;
mod requests;
mod run;
mod side_by_side;
mod snapshots;
mod software;
mod sources;
mod standard_kernel;
mod storage;
mod streams;
mod templates;
mod terminals;
mod transfers;
mod warm;
mod watching;
