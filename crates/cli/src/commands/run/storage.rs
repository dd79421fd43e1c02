//! Mounts and secrets of `run`, resolved.

use super::pair;
use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use crate::sizes;
use anyhow::Context;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use supermachine::{Access, SecretSource, VmConfig, VolumeOptions};

/// Puts everything into the configuration.
pub fn apply(mut config: VmConfig, args: &args::Storage) -> anyhow::Result<VmConfig> {
    for word in &args.volume {
        config = volume(config, word)?;
    }
    for words in &args.mount {
        config = mount(config, words)?;
    }
    for word in &args.tmpfs {
        let (path, options) = cut(word, b':').unwrap_or((word.clone(), OsString::new()));
        config = config.tmpfs(path, options.to_string_lossy());
    }
    if args.read_only {
        config = config.root(Access::ReadOnly);
    }
    if let Some(text) = &args.shm_size {
        let bytes = sizes::parse(text).map_err(|error| refuse("--shm-size", text, error))?;
        config = config.shm_size(bytes);
    }
    for word in &args.secret {
        let (name, source) = secret(word)?;
        config = config.secret(name, source);
    }
    Ok(config)
}

fn cut(word: &OsStr, at: u8) -> Option<(OsString, OsString)> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|&byte| byte == at)?;
    Some((
        OsString::from_vec(bytes[..at].to_vec()),
        OsString::from_vec(bytes[at + 1..].to_vec()),
    ))
}

/// `-v`, as Docker reads it: a name, not a path, makes it a volume.
fn volume(config: VmConfig, word: &OsStr) -> anyhow::Result<VmConfig> {
    let shown = word.to_string_lossy();
    let Some((source, rest)) = cut(word, b':') else {
        return Err(refused(
            &shown,
            "volumes without a name are not built yet",
            "give it one, like data:/path, or use --tmpfs",
        ));
    };
    if source.as_bytes().starts_with(b"/")
        || source.as_bytes().starts_with(b".")
        || source.as_bytes().starts_with(b"~")
    {
        return Err(host_directory("-v", &shown));
    }
    let (path, words) = cut(&rest, b':').unwrap_or((rest, OsString::new()));
    let mut options = VolumeOptions::default();
    for word in words
        .to_string_lossy()
        .split(',')
        .filter(|word| !word.is_empty())
    {
        match word {
            "ro" => options.access = Access::ReadOnly,
            "rw" => options.access = Access::ReadWrite,
            "nocopy" => options.no_copy = true,
            _ => {
                return Err(refuse(
                    "-v",
                    &shown,
                    format!("{word} is not an option of a volume here: ro, rw and nocopy are"),
                )
                .into());
            }
        }
    }
    let name = source
        .into_string()
        .ok()
        .context("-v: the name of a volume is text")?;
    Ok(config.volume(name, path, options))
}

fn refused(word: &str, message: &str, hint: &str) -> anyhow::Error {
    Refusal {
        message: format!("-v {word}: {message}"),
        hint: Some(hint.to_owned()),
    }
    .into()
}

fn host_directory(flag: &str, word: &str) -> anyhow::Error {
    Refusal {
        message: format!("{flag} {word}: directories of the host are not built yet"),
        hint: Some("`supermachine cp` copies into a VM; NAME:PATH mounts a volume".to_owned()),
    }
    .into()
}

/// What the words of a `--mount` say.
#[derive(Default)]
struct Words<'a> {
    kind: Option<&'a str>,
    source: Option<&'a str>,
    target: Option<&'a str>,
    access: Access,
    no_copy: bool,
    tmpfs: Vec<String>,
}

fn mount(config: VmConfig, text: &str) -> anyhow::Result<VmConfig> {
    let words = words(text)?;
    let target = words
        .target
        .ok_or_else(|| refuse("--mount", text, "it has no target"))?;
    match (words.kind.unwrap_or("volume"), words.source) {
        ("bind", _) => Err(host_directory("--mount", text)),
        ("volume", None) => {
            Err(refuse("--mount", text, "a volume needs a source: its name").into())
        }
        ("volume", Some(name)) if words.tmpfs.is_empty() => {
            let options = VolumeOptions {
                access: words.access,
                no_copy: words.no_copy,
            };
            Ok(config.volume(name, target, options))
        }
        ("tmpfs", None) if !words.no_copy => {
            let mut options = words.tmpfs;
            if words.access == Access::ReadOnly {
                options.push("ro".to_owned());
            }
            Ok(config.tmpfs(target, options.join(",")))
        }
        ("volume" | "tmpfs", _) => Err(refuse(
            "--mount",
            text,
            "some of these words belong to another type",
        )
        .into()),
        (kind, _) => Err(refuse(
            "--mount",
            text,
            format!("the type {kind} is not supported: volume and tmpfs are"),
        )
        .into()),
    }
}

fn words(text: &str) -> anyhow::Result<Words<'_>> {
    let mut words = Words::default();
    for word in text.split(',') {
        let (key, value) = word.split_once('=').unwrap_or((word, "true"));
        let yes = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(refuse("--mount", text, format!("{key} is true or false"))),
        };
        match key {
            "type" => words.kind = Some(value),
            "source" | "src" => words.source = Some(value),
            "target" | "destination" | "dst" => words.target = Some(value),
            "readonly" | "ro" if yes()? => words.access = Access::ReadOnly,
            "readonly" | "ro" => words.access = Access::ReadWrite,
            "volume-nocopy" => words.no_copy = yes()?,
            "tmpfs-size" => {
                let bytes = sizes::parse(value).map_err(|error| refuse("--mount", text, error))?;
                words.tmpfs.push(format!("size={bytes}"));
            }
            "tmpfs-mode" => words.tmpfs.push(format!("mode={value}")),
            _ => return Err(refuse("--mount", text, format!("{key} is not known here")).into()),
        }
    }
    Ok(words)
}

/// NAME=file:PATH or NAME=env:VARIABLE. The path is made absolute: a supervisor may read it.
fn secret(word: &str) -> anyhow::Result<(&str, SecretSource)> {
    let form = "NAME=file:PATH or NAME=env:VARIABLE";
    let (name, source) = pair("--secret", word, form, &['='])?;
    let source = match source.split_once(':') {
        Some(("file", path)) if !path.is_empty() => SecretSource::File(
            std::path::absolute(path).context("cannot find the working directory")?,
        ),
        Some(("env", variable)) if !variable.is_empty() => SecretSource::Env(variable.to_owned()),
        _ => return Err(refuse("--secret", word, format!("write it as {form}")).into()),
    };
    Ok((name, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(edit: impl FnOnce(&mut args::Storage)) -> Result<VmConfig, String> {
        let mut args = args::Storage::default();
        edit(&mut args);
        apply(VmConfig::new(), &args).map_err(|error| error.to_string())
    }

    #[test]
    fn volumes_and_mounts_are_read_as_dockers() {
        let new = VmConfig::new;
        let read_only = VolumeOptions {
            access: Access::ReadOnly,
            no_copy: false,
        };
        for (word, config) in [
            (
                "data:/d",
                new().volume("data", "/d", VolumeOptions::default()),
            ),
            ("data:/d:ro", new().volume("data", "/d", read_only)),
            (
                "data:/d:rw,nocopy",
                new().volume(
                    "data",
                    "/d",
                    VolumeOptions {
                        access: Access::ReadWrite,
                        no_copy: true,
                    },
                ),
            ),
        ] {
            assert_eq!(
                of(|args| args.volume.push(word.into())),
                Ok(config),
                "{word}"
            );
        }
        for (word, config) in [
            (
                "type=volume,src=data,dst=/d,readonly",
                new().volume("data", "/d", read_only),
            ),
            (
                "source=data,target=/d,ro=false",
                new().volume("data", "/d", VolumeOptions::default()),
            ),
            (
                "type=tmpfs,destination=/d,tmpfs-size=1m,tmpfs-mode=700,ro",
                new().tmpfs("/d", "size=1048576,mode=700,ro"),
            ),
        ] {
            assert_eq!(
                of(|args| args.mount.push(word.into())),
                Ok(config),
                "{word}"
            );
        }
        let tmpfs = of(|args| args.tmpfs.extend(["/a".into(), "/b:size=1m,exec".into()]));
        assert_eq!(tmpfs, Ok(new().tmpfs("/a", "").tmpfs("/b", "size=1m,exec")));
    }

    #[test]
    fn what_is_not_built_or_makes_no_sense_is_refused_by_name() {
        for (word, message) in [
            (
                "/host:/d",
                "-v /host:/d: directories of the host are not built yet",
            ),
            (
                "./here:/d",
                "-v ./here:/d: directories of the host are not built yet",
            ),
            ("/d", "-v /d: volumes without a name are not built yet"),
            (
                "data:/d:z",
                "-v data:/d:z: z is not an option of a volume here: ro, rw and nocopy are",
            ),
        ] {
            assert_eq!(
                of(|args| args.volume.push(word.into())).unwrap_err(),
                message
            );
        }
        for (word, message) in [
            (
                "type=bind,src=/a,dst=/b",
                "--mount type=bind,src=/a,dst=/b: directories of the host are not built yet",
            ),
            ("src=data", "--mount src=data: it has no target"),
            (
                "dst=/d",
                "--mount dst=/d: a volume needs a source: its name",
            ),
            (
                "type=tmpfs,dst=/d,src=x",
                "--mount type=tmpfs,dst=/d,src=x: some of these words belong to another type",
            ),
            (
                "type=npipe,dst=/d",
                "--mount type=npipe,dst=/d: the type npipe is not supported: volume and tmpfs are",
            ),
            (
                "dst=/d,bind-recursive=x",
                "--mount dst=/d,bind-recursive=x: bind-recursive is not known here",
            ),
        ] {
            assert_eq!(
                of(|args| args.mount.push(word.into())).unwrap_err(),
                message
            );
        }
        for (word, message) in [
            (
                "key",
                "--secret key: write it as NAME=file:PATH or NAME=env:VARIABLE",
            ),
            (
                "key=plain",
                "--secret key=plain: write it as NAME=file:PATH or NAME=env:VARIABLE",
            ),
        ] {
            assert_eq!(
                of(|args| args.secret.push(word.into())).unwrap_err(),
                message
            );
        }
        assert!(of(|args| args.shm_size = Some("-1".into())).is_err());
    }
}
