//! Commands about images and the store.

use super::Json;
use clap::Args;

/// `pull`
#[derive(Debug, Args)]
pub struct Pull {
    /// Choose this platform of the image, like linux/amd64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,

    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,

    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// `images`
#[derive(Debug, Args)]
pub struct Images {
    /// Ids only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,

    #[command(flatten)]
    pub json: Json,
}

/// `rmi`
#[derive(Debug, Args)]
pub struct Rmi {
    /// The images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// `prune`
#[derive(Debug, Args)]
pub struct Prune {
    #[command(flatten)]
    pub json: Json,
}

/// `df`
#[derive(Debug, Args)]
pub struct Df {
    #[command(flatten)]
    pub json: Json,
}
