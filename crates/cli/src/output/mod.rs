//! What people and programs see. Data goes to standard output, everything else to standard error.

pub mod columns;
pub mod failure;
pub mod json;
pub mod new_file;
pub mod progress;
mod screen;
pub mod stdout;
pub mod table;
pub mod template;
pub mod time;
pub mod units;

pub use screen::printable;
