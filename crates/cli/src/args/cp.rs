//! `cp`

use clap::Args;
use std::ffi::OsString;

/// `cp`
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "supermachine cp [OPTIONS] NAME:PATH DEST|-\n       supermachine cp [OPTIONS] SOURCE|- NAME:PATH",
    after_help = "`-` is a tar stream: of what stands at PATH on standard output, or to be unpacked in the directory PATH \
                  from standard input. A source that ends in `/.` means what is in the directory."
)]
pub struct Cp {
    /// Keep the files' owners; otherwise they become root's in the VM, and yours here
    #[arg(short, long)]
    pub archive: bool,

    /// Follow a symbolic link at the end of the source path
    #[arg(short = 'L', long)]
    pub follow_link: bool,

    /// Say nothing, as always
    #[arg(short, long, hide = true)]
    pub quiet: bool,

    /// From where
    #[arg(value_name = "SOURCE", hide = true)]
    pub source: OsString,

    /// To where
    #[arg(value_name = "DEST", hide = true)]
    pub destination: OsString,
}
