//! The socket device between two lives.
