//! From what was asked for to what the guest is told.

use super::{Access, Dns, SecretSource, Storage, StorageError, What};
use crate::names;
use proto::guest::disk;
use proto::mounts::{self, Extras, Fill, Flags, Secret, Source};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;

/// Docker's limit for a secret.
const MAX_SECRET: u64 = 500 << 10;

/// Refuses what cannot be, before a VM costs anything.
pub(crate) fn check(storage: &Storage) -> Result<(), StorageError> {
    let mut targets: Vec<Vec<u8>> = Vec::new();
    for mount in &storage.mounts {
        let target = normal(&mount.target.0)?;
        if targets.contains(&target) {
            return refuse(&target, "something is mounted there already");
        }
        targets.push(target);
        if let What::Tmpfs { options } = &mount.what {
            tmpfs_options(options)?;
        }
    }
    let volumes: Vec<&str> = storage.volumes().map(|(name, _)| name).collect();
    if volumes.len() > usize::from(disk::COUNT - disk::DATA) {
        return Err(StorageError::TooManyVolumes(volumes.len()));
    }
    for (at, name) in volumes.iter().enumerate() {
        names::check(name).map_err(|_| StorageError::VolumeName((*name).to_owned()))?;
        if volumes[..at].contains(name) {
            return Err(StorageError::VolumeTwice((*name).to_owned()));
        }
    }
    if let Some(bytes @ (0..4096 | 0x8000_0000_0000_0000..)) = storage.shm_size {
        return Err(StorageError::ShmSize(bytes));
    }
    for (name, _) in &storage.sysctls {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        let parts = name.split(['.', '/']);
        if !name.bytes().all(plain) || parts.clone().count() < 2 || parts.clone().any(str::is_empty)
        {
            return Err(StorageError::Sysctl(name.clone()));
        }
    }
    check_names(storage)
}

fn check_names(storage: &Storage) -> Result<(), StorageError> {
    let addresses = storage.hosts.iter().map(|(address, _)| address);
    for address in addresses.chain(&storage.dns.servers) {
        if address.parse::<IpAddr>().is_err() {
            return Err(StorageError::Address(address.clone()));
        }
    }
    let words =
        |list: &[String], file: &'static str| list.iter().try_for_each(|word| word_for(word, file));
    for (_, name) in &storage.hosts {
        word_for(name, "/etc/hosts")?;
    }
    words(&storage.dns.search, "/etc/resolv.conf")?;
    words(&storage.dns.options, "/etc/resolv.conf")?;
    for (name, _) in &storage.secrets {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.bytes().all(plain)
        {
            return Err(StorageError::SecretName(name.clone()));
        }
    }
    Ok(())
}

fn word_for(word: &str, file: &'static str) -> Result<(), StorageError> {
    if word.is_empty()
        || word
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '#')
    {
        return Err(StorageError::Word(word.to_owned(), file));
    }
    Ok(())
}

fn refuse<T>(target: &[u8], reason: &'static str) -> Result<T, StorageError> {
    let target = String::from_utf8_lossy(target).into_owned();
    Err(StorageError::Target { target, reason })
}

/// An absolute path without needless slashes, dots and steps back.
fn normal(target: &[u8]) -> Result<Vec<u8>, StorageError> {
    if !target.starts_with(b"/") {
        return refuse(target, "it is not an absolute path");
    }
    if target.contains(&0) || target.len() > 4000 {
        return refuse(target, "it is not a path");
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.first() {
        None => refuse(target, "it is the root"),
        Some(&b"proc") => refuse(target, "/proc is the kernel's"),
        Some(_) => Ok([&b"/"[..], &parts.join(&b'/')].concat()),
    }
}

/// What the guest is told. Reads the secrets.
pub(crate) fn extras(storage: &Storage, user: &[u8]) -> Result<Extras, StorageError> {
    let mut mounts = Vec::new();
    let mut slot = disk::DATA;
    for mount in &storage.mounts {
        let target = normal(&mount.target.0)?;
        let (source, flags) = match &mount.what {
            What::Tmpfs { options } => tmpfs_options(options)?,
            What::Volume { options, .. } => {
                let fill = if options.no_copy {
                    Fill::Nothing
                } else {
                    Fill::Image
                };
                let source = Source::Volume { slot, fill };
                slot += 1;
                let flags = Flags {
                    access: access(options.access),
                    ..Flags::default()
                };
                (source, flags)
            }
        };
        mounts.push(mounts::Mount {
            target,
            source,
            flags,
        });
    }
    // What is mounted in another mount comes after it.
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    let secrets = storage
        .secrets
        .iter()
        .map(|(name, source)| read(name, source));
    Ok(Extras {
        mounts,
        root: access(storage.root),
        sysctls: storage
            .sysctls
            .iter()
            .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()))
            .collect(),
        secrets: secrets.collect::<Result<_, _>>()?,
        secrets_for: user.to_vec(),
    })
}

const fn access(access: Access) -> mounts::Access {
    match access {
        Access::ReadWrite => mounts::Access::ReadWrite,
        Access::ReadOnly => mounts::Access::ReadOnly,
    }
}

/// Docker's defaults, and what the words change about them.
fn tmpfs_options(options: &str) -> Result<(Source, Flags), StorageError> {
    let mut flags = Flags {
        access: mounts::Access::ReadWrite,
        no_exec: true,
        no_suid: true,
        no_dev: true,
    };
    let mut data = Vec::new();
    for word in options.split(',').filter(|word| !word.is_empty()) {
        match word {
            "rw" => flags.access = mounts::Access::ReadWrite,
            "ro" => flags.access = mounts::Access::ReadOnly,
            "exec" => flags.no_exec = false,
            "noexec" => flags.no_exec = true,
            "suid" => flags.no_suid = false,
            "nosuid" => flags.no_suid = true,
            "dev" => flags.no_dev = false,
            "nodev" => flags.no_dev = true,
            _ => {
                let value = word.split_once('=').filter(|(key, value)| {
                    ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"].contains(key)
                        && !value.is_empty()
                        && value
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'%')
                });
                if value.is_none() {
                    return Err(StorageError::TmpfsOption(word.to_owned()));
                }
                data.push(word);
            }
        }
    }
    Ok((Source::Tmpfs(data.join(",").into_bytes()), flags))
}

fn read(name: &str, source: &SecretSource) -> Result<Secret, StorageError> {
    let failed = |from: String| {
        let name = name.to_owned();
        move |source| StorageError::Secret { name, from, source }
    };
    let contents = match source {
        SecretSource::File(path) => {
            let mut contents = Vec::new();
            File::open(path)
                .and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut contents))
                .map_err(failed(path.display().to_string()))?;
            contents
        }
        SecretSource::Env(variable) => std::env::var_os(variable)
            .ok_or_else(|| std::io::Error::other("there is no such variable"))
            .map_err(failed(format!("the variable {variable}")))?
            .into_vec(),
    };
    if contents.len() as u64 > MAX_SECRET {
        return Err(StorageError::SecretTooLong(name.to_owned()));
    }
    Ok(Secret {
        name: name.as_bytes().to_vec(),
        contents,
    })
}

/// Lines for /etc/hosts: address and name.
pub(crate) fn hosts(storage: &Storage) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = |text: &String| text.clone().into_bytes();
    storage
        .hosts
        .iter()
        .map(|(address, name)| (bytes(address), bytes(name)))
        .collect()
}

/// The whole of /etc/resolv.conf, if anything was said about it. `servers` are the network's own, for where none was.
pub(crate) fn resolv_conf(dns: &Dns, servers: &[IpAddr]) -> Option<Vec<u8>> {
    if dns == &Dns::default() && servers.is_empty() {
        return None;
    }
    let mut text = String::new();
    let mut line = |key: &str, words: &[String]| {
        if !words.is_empty() {
            text.push_str(&format!("{key} {}\n", words.join(" ")));
        }
    };
    let network: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    let servers = if dns.servers.is_empty() {
        &network
    } else {
        &dns.servers
    };
    for server in servers {
        line("nameserver", std::slice::from_ref(server));
    }
    // Docker's word for none at all.
    if dns.search != ["."] {
        line("search", &dns.search);
    }
    line("options", &dns.options);
    Some(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VmConfig;
    use crate::storage::VolumeOptions;

    fn refusal(config: VmConfig) -> String {
        check(&config.storage).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let new = VmConfig::new;
        let ro = VolumeOptions::default();
        for (config, message) in [
            (
                new().tmpfs("x", ""),
                "nothing can be mounted on x: it is not an absolute path",
            ),
            (
                new().tmpfs("/a/..", ""),
                "nothing can be mounted on /a/..: it is the root",
            ),
            (
                new().tmpfs("/x/../proc/sys", ""),
                "nothing can be mounted on /x/../proc/sys: /proc is the kernel's",
            ),
            (
                new().tmpfs("/a", "").volume("vol", "//a/.", ro),
                "nothing can be mounted on /a: something is mounted there already",
            ),
            (
                new().tmpfs("/a", "sise=1"),
                "\"sise=1\" is not an option of a tmpfs",
            ),
            (
                new().tmpfs("/a", "size="),
                "\"size=\" is not an option of a tmpfs",
            ),
            (
                new().volume("a/b", "/a", ro),
                "\"a/b\" is not a name for a volume: use letters, digits, `_`, `.` and `-`, two at least",
            ),
            (
                new().volume("vol", "/a", ro).volume("vol", "/b", ro),
                "the volume vol is mounted twice",
            ),
            (
                (0..5).fold(new(), |config, n| {
                    config.volume(format!("v{n}"), format!("/{n}"), ro)
                }),
                "a VM can have 4 volumes, not 5",
            ),
            (new().shm_size(0), "/dev/shm cannot have 0 bytes"),
            (
                new().sysctl("net..x", "1"),
                "\"net..x\" is not the name of a kernel parameter",
            ),
            (
                new().sysctl("x", "1"),
                "\"x\" is not the name of a kernel parameter",
            ),
            (
                new().add_host("a", "1.2.3"),
                "\"1.2.3\" is not an IP address",
            ),
            (
                new().add_host("a b", "::1"),
                "\"a b\" has a space or another character that /etc/hosts cannot hold",
            ),
            (new().dns("x"), "\"x\" is not an IP address"),
            (
                new().secret("../x", SecretSource::Env("A".into())),
                "\"../x\" is not a name for a secret: use letters, digits, `_`, `.` and `-`",
            ),
        ] {
            assert_eq!(refusal(config), message);
        }
    }

    #[test]
    fn mounts_come_after_what_they_are_in_and_slots_stay_with_their_volumes() {
        let options = VolumeOptions {
            access: Access::ReadOnly,
            no_copy: true,
        };
        let config = VmConfig::new()
            .volume("one", "/b/c", options)
            .volume("two", "/b", VolumeOptions::default())
            .tmpfs("/a/", "size=1m,exec");
        let extras = extras(&config.storage, b"").unwrap();
        let slots: Vec<_> = extras
            .mounts
            .iter()
            .map(|mount| match &mount.source {
                Source::Tmpfs(options) => (&mount.target[..], options.clone(), mount.flags.no_exec),
                Source::Volume { slot, .. } => {
                    (&mount.target[..], vec![*slot], mount.flags.no_exec)
                }
            })
            .collect();
        assert_eq!(
            slots,
            [
                (&b"/a"[..], b"size=1m".to_vec(), false),
                (b"/b", vec![3], false),
                (b"/b/c", vec![2], false)
            ]
        );
        assert_eq!(extras.mounts[2].flags.access, mounts::Access::ReadOnly);
    }

    #[test]
    fn resolv_conf_is_as_docker_writes_it() {
        let config = VmConfig::new()
            .dns("9.9.9.9")
            .dns("::1")
            .dns_search("a.example")
            .dns_option("ndots:2");
        let text = resolv_conf(&config.storage.dns, &[]).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "nameserver 9.9.9.9\nnameserver ::1\nsearch a.example\noptions ndots:2\n"
        );
        let config = VmConfig::new().dns_search(".");
        let text = resolv_conf(&config.storage.dns, &["10.0.2.3".parse().unwrap()]).unwrap();
        assert_eq!(text, b"nameserver 10.0.2.3\n");
        assert_eq!(resolv_conf(&Dns::default(), &[]), None);
    }

    #[test]
    fn a_secret_is_read_late_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let config = VmConfig::new().secret("key", SecretSource::File(path.clone()));
        check(&config.storage).unwrap();
        let error = extras(&config.storage, b"").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read the secret key from /"),
            "{error}"
        );
        std::fs::write(&path, "hunter2").unwrap();
        let extras = extras(&config.storage, b"app").unwrap();
        assert_eq!(
            (&extras.secrets[0].contents[..], &extras.secrets_for[..]),
            (&b"hunter2"[..], &b"app"[..])
        );
        assert!(!format!("{extras:?}").contains("104, 117"), "{extras:?}");
    }
}
