//! `images`

use crate::args;
use crate::exit_code;
use crate::output::table::Table;
use crate::output::{json, stdout, time, units};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use supermachine::images::{IdPrefix, ImageRef, ImageSummary, Store};
use supermachine::{Runtime, rfc3339};

/// Digits of an id that tell images apart.
const SHORT: usize = 12;

/// Lists the images of the store.
pub fn carry_out(args: &args::Images) -> anyhow::Result<u8> {
    let store = Runtime::new()?.store()?;
    let images = store.list().map_err(supermachine::Error::from)?;
    let id = |image: &ImageSummary| {
        if args.no_trunc {
            image.digest.to_string()
        } else {
            image.digest.hex()[..SHORT].to_owned()
        }
    };
    if args.json.json {
        json::print(
            &images
                .iter()
                .map(|image| Json::new(image, root(&store, image)))
                .collect::<Vec<_>>(),
        )?;
    } else if args.quiet {
        stdout::write(
            images
                .iter()
                .map(|image| id(image) + "\n")
                .collect::<String>()
                .as_bytes(),
        )?;
    } else {
        stdout::write(table(&images, id, SystemTime::now()).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

/// The digest of the image's root filesystem, if the image is whole.
fn root(store: &Store, image: &ImageSummary) -> Option<String> {
    let reference = ImageRef::Id(IdPrefix::any(&image.digest.hex())?);
    Some(store.get(&reference).ok()??.root.digest.to_string())
}

/// The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Json<'a> {
    id: String,
    names: &'a [String],
    platform: &'a str,
    created: Option<&'a str>,
    pulled: Option<String>,
    size: u64,
    root: Option<String>,
    damaged: bool,
}

impl<'a> Json<'a> {
    fn new(image: &'a ImageSummary, root: Option<String>) -> Self {
        Self {
            id: image.digest.to_string(),
            names: &image.names,
            platform: &image.platform,
            created: image.created.as_deref(),
            pulled: image.pulled.map(|seconds| rfc3339(moment(seconds))),
            size: image.size,
            root,
            damaged: image.is_damaged,
        }
    }
}

fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn table(images: &[ImageSummary], id: impl Fn(&ImageSummary) -> String, now: SystemTime) -> String {
    let mut table = Table::new(["NAME", "IMAGE ID", "PLATFORM", "PULLED", "SIZE"]);
    for image in images {
        let pulled = image
            .pulled
            .map_or_else(String::new, |seconds| time::ago(moment(seconds), now));
        let size = if image.is_damaged {
            "damaged".to_owned()
        } else {
            units::size(image.size)
        };
        let no_name = ["<none>".to_owned()];
        for name in if image.names.is_empty() {
            &no_name
        } else {
            image.names.as_slice()
        } {
            table.row([
                name.clone(),
                id(image),
                image.platform.clone(),
                pulled.clone(),
                size.clone(),
            ]);
        }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use supermachine::images::Digest;

    fn images() -> Vec<ImageSummary> {
        let digest = |byte: &str| Digest::parse(&format!("sha256:{}", byte.repeat(32))).unwrap();
        let whole = ImageSummary {
            digest: digest("ab"),
            names: vec![
                "docker.io/library/alpine:3".into(),
                "oci:/images/alpine".into(),
            ],
            platform: "linux/amd64".into(),
            created: Some("2024-01-01T00:00:00Z".into()),
            pulled: Some(1_700_000_000),
            size: 7_834_321,
            is_damaged: false,
        };
        let damaged = ImageSummary {
            digest: digest("cd"),
            names: Vec::new(),
            platform: String::new(),
            created: None,
            pulled: None,
            is_damaged: true,
            ..whole
        };
        vec![whole, damaged]
    }

    #[test]
    fn the_table_has_a_line_for_each_name() {
        let id = |image: &ImageSummary| image.digest.hex()[..SHORT].to_owned();
        insta::assert_snapshot!(table(&images(), id, moment(1_700_000_300)), @"
        NAME                         IMAGE ID       PLATFORM      PULLED          SIZE
        docker.io/library/alpine:3   abababababab   linux/amd64   5 minutes ago   7.83MB
        oci:/images/alpine           abababababab   linux/amd64   5 minutes ago   7.83MB
        <none>                       cdcdcdcdcdcd                                 damaged
        ");
    }

    #[test]
    fn the_json_is_frozen() {
        let images = images();
        let json: Vec<_> = images
            .iter()
            .map(|image| Json::new(image, image.created.clone().map(|_| "sha256:ef".into())))
            .collect();
        insta::assert_snapshot!(json::render(&json).unwrap(), @r#"
        [
          {
            "id": "sha256:abababababababababababababababababababababababababababababababab",
            "names": [
              "docker.io/library/alpine:3",
              "oci:/images/alpine"
            ],
            "platform": "linux/amd64",
            "created": "2024-01-01T00:00:00Z",
            "pulled": "2023-11-14T22:13:20.000000000Z",
            "size": 7834321,
            "root": "sha256:ef",
            "damaged": false
          },
          {
            "id": "sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
            "names": [],
            "platform": "",
            "created": null,
            "pulled": null,
            "size": 7834321,
            "root": null,
            "damaged": true
          }
        ]
        "#);
    }
}
