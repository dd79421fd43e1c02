//! Any OCI image as a hardware-isolated microVM, one library call.
#![forbid(unsafe_code)]
