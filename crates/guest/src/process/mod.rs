//! From a request for a process to a running program.

mod diagnosis;
mod path;
mod plan;
mod users;

pub use plan::Plan;
pub use users::UserFiles;
