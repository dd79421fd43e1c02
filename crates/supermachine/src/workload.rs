//! What runs in a VM: its image's config and the caller's wishes, by Docker's rules.

use crate::bytes::ByteString;
use crate::config::{Command, VmConfig, Workload};
use crate::error::ConfigError;
use crate::signals::Signal;
use image::Healthcheck;
use proto::session::{Bytes, Process, ResourceLimit, WindowSize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The kernel's limit for one string of arguments or environment, its NUL included.
const MAX_STRING: usize = 128 << 10;

/// What an image says about its own running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageDefaults {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) user: String,
    pub(crate) working_dir: String,
    pub(crate) stop_signal: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) healthcheck: Option<Healthcheck>,
    pub(crate) shell: Vec<String>,
}

/// Everything a process in the VM starts from. Kept in the record, because an exec from another process
/// needs it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Defaults {
    pub(crate) env: Vec<ByteString>,
    pub(crate) user: ByteString,
    pub(crate) cwd: ByteString,
    pub(crate) stop_signal: Signal,
    #[serde(default)]
    pub(crate) groups: Vec<ByteString>,
    #[serde(default)]
    pub(crate) ulimits: Vec<ResourceLimit>,
}

impl Defaults {
    /// The image's, with the caller's on top.
    pub(crate) fn new(
        image: &ImageDefaults,
        config: &VmConfig,
        hostname: &str,
    ) -> Result<Self, ConfigError> {
        let mut env = vec![ByteString(format!("HOSTNAME={hostname}").into_bytes())];
        for variable in image
            .env
            .iter()
            .map(|text| ByteString::from(text.as_str()))
            .chain(config.env.iter().cloned())
        {
            set(&mut env, variable)?;
        }
        let cwd = config
            .workdir
            .clone()
            .unwrap_or_else(|| image.working_dir.as_str().into());
        if config.workdir.is_some() {
            check_dir(&cwd)?;
        }
        let stop_signal = match (config.stop_signal, &image.stop_signal) {
            (Some(signal), _) => signal,
            (None, Some(text)) => text
                .parse()
                .map_err(|_| ConfigError::StopSignal(text.clone()))?,
            (None, None) => Signal::TERM,
        };
        let user = config
            .user
            .clone()
            .unwrap_or_else(|| image.user.as_str().into());
        Ok(Self {
            env,
            user,
            cwd,
            stop_signal,
            groups: config.groups.clone(),
            ulimits: config.ulimits.clone(),
        })
    }

    /// The same under another host name.
    pub(crate) fn renamed(&self, hostname: &str) -> Self {
        let mut renamed = self.clone();
        let name = b"HOSTNAME=";
        if let Some(variable) = renamed
            .env
            .iter_mut()
            .find(|variable| variable.0.starts_with(name))
        {
            variable.0.truncate(name.len());
            variable.0.extend_from_slice(hostname.as_bytes());
        }
        renamed
    }

    /// The request for a process that starts from these.
    pub(crate) fn process(&self, wishes: Wishes) -> Result<Process, ConfigError> {
        if wishes.argv.is_empty() || wishes.argv[0].0.is_empty() {
            return Err(ConfigError::NoCommand);
        }
        let mut env = self.env.clone();
        for variable in wishes.env {
            set(&mut env, variable)?;
        }
        if let Some(dir) = &wishes.cwd {
            check_dir(dir)?;
        }
        for string in wishes.argv.iter().chain(&env) {
            check_string(string)?;
        }
        let raw = |string: ByteString| -> Bytes { string.0 };
        Ok(Process {
            argv: wishes.argv.into_iter().map(raw).collect(),
            env: env.into_iter().map(raw).collect(),
            cwd: wishes.cwd.unwrap_or_else(|| self.cwd.clone()).0,
            user: wishes.user.unwrap_or_else(|| self.user.clone()).0,
            stdin: wishes.stdin,
            tty: wishes.tty,
            timeout_ms: wishes
                .timeout
                .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)),
            groups: self.groups.iter().cloned().map(raw).collect(),
            limits: self.ulimits.clone(),
        })
    }
}

/// What a caller wants of one process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) argv: Vec<ByteString>,
    pub(crate) env: Vec<ByteString>,
    pub(crate) cwd: Option<ByteString>,
    pub(crate) user: Option<ByteString>,
    pub(crate) stdin: bool,
    pub(crate) tty: Option<WindowSize>,
    pub(crate) timeout: Option<Duration>,
}

/// The program and arguments of the main process, or `None` for a VM without one.
pub(crate) fn argv(
    image: &ImageDefaults,
    config: &VmConfig,
) -> Result<Option<Vec<ByteString>>, ConfigError> {
    let Workload::Command(Command { entrypoint, args }) = &config.workload else {
        return Ok(None);
    };
    let texts = |words: &[String]| {
        words
            .iter()
            .map(|word| ByteString::from(word.as_str()))
            .collect::<Vec<_>>()
    };
    // Docker: `--entrypoint ""` removes the entrypoint.
    let given = entrypoint.as_ref().map(|words| {
        if words.iter().all(|word| word.0.is_empty()) {
            &[][..]
        } else {
            words
        }
    });
    let mut argv = given.map_or_else(|| texts(&image.entrypoint), <[ByteString]>::to_vec);
    match (given, args.is_empty()) {
        (_, false) => argv.extend(args.iter().cloned()),
        (None, true) => argv.extend(texts(&image.cmd)),
        (Some(_), true) => {}
    }
    if argv.is_empty() {
        Err(ConfigError::NoCommand)
    } else {
        Ok(Some(argv))
    }
}

/// Whether the workload insists on being PID 1, as init systems do.
pub(crate) fn wants_pid_1(argv: &[ByteString]) -> bool {
    let Some(program) = argv.first() else {
        return false;
    };
    let program = program.0.as_slice();
    program == b"/init"
        || program == b"/sbin/init"
        || program.rsplit(|byte| *byte == b'/').next() == Some(b"systemd")
}

/// Sets a variable in place, or appends it; a name without a value takes it out.
fn set(env: &mut Vec<ByteString>, variable: ByteString) -> Result<(), ConfigError> {
    let name = |string: &ByteString| -> Vec<u8> {
        let name = string.0.split(|byte| *byte == b'=').next();
        name.unwrap_or_default().to_vec()
    };
    let wanted = name(&variable);
    if wanted.is_empty() {
        return Err(ConfigError::Variable(variable.lossy()));
    }
    if wanted.len() == variable.0.len() {
        env.retain(|known| name(known) != wanted);
        return Ok(());
    }
    match env.iter_mut().find(|known| name(known) == wanted) {
        Some(known) => *known = variable,
        None => env.push(variable),
    }
    Ok(())
}

/// Relative to what would be anybody's guess.
fn check_dir(dir: &ByteString) -> Result<(), ConfigError> {
    if dir.0.starts_with(b"/") {
        Ok(())
    } else {
        Err(ConfigError::Workdir(dir.lossy()))
    }
}

fn check_string(string: &ByteString) -> Result<(), ConfigError> {
    let start = || string.lossy().chars().take(40).collect::<String>();
    if string.0.contains(&0) {
        return Err(ConfigError::ZeroByte(start()));
    }
    if string.0.len() >= MAX_STRING {
        return Err(ConfigError::StringTooLong {
            start: start(),
            len: string.0.len(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageDefaults {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        ImageDefaults {
            entrypoint: words(&["/entry"]),
            cmd: words(&["default", "args"]),
            env: words(&["PATH=/bin", "A=1", "B=x=y"]),
            user: "app".into(),
            working_dir: "/srv".into(),
            stop_signal: Some("SIGQUIT".into()),
            labels: BTreeMap::new(),
            healthcheck: None,
            shell: Vec::new(),
        }
    }

    fn words(config: &VmConfig) -> Vec<String> {
        argv(&image(), config)
            .unwrap()
            .unwrap()
            .iter()
            .map(ByteString::lossy)
            .collect()
    }

    #[test]
    fn entrypoint_and_command_combine_as_docker_combines_them() {
        let config = VmConfig::new;
        assert_eq!(argv(&image(), &config()).unwrap(), None);
        assert_eq!(words(&config().run_image()), ["/entry", "default", "args"]);
        assert_eq!(words(&config().args(["x"])), ["/entry", "x"]);
        assert_eq!(words(&config().entrypoint(["sh"])), ["sh"]);
        assert_eq!(
            words(&config().entrypoint(["sh"]).args(["-c", ""])),
            ["sh", "-c", ""]
        );
        assert_eq!(words(&config().entrypoint([""]).args(["x"])), ["x"]);
        assert_eq!(
            words(&config().args(Vec::<&str>::new())),
            ["/entry", "default", "args"]
        );
        assert_eq!(
            argv(&image(), &config().entrypoint([""])),
            Err(ConfigError::NoCommand)
        );
        assert_eq!(
            argv(&ImageDefaults::default(), &config().run_image()),
            Err(ConfigError::NoCommand)
        );
    }

    #[test]
    fn the_callers_environment_replaces_in_place_and_appends() {
        let config = VmConfig::new()
            .env("A", "2")
            .env("C", "a b\n\"c\"")
            .env("A", "3");
        let defaults = Defaults::new(&image(), &config, "host").unwrap();
        let env: Vec<_> = defaults.env.iter().map(ByteString::lossy).collect();
        assert_eq!(
            env,
            ["HOSTNAME=host", "PATH=/bin", "A=3", "B=x=y", "C=a b\n\"c\""]
        );
    }

    #[test]
    fn a_variable_that_is_removed_is_gone_and_others_of_a_like_name_stay() {
        let config = VmConfig::new().env_remove("A").env("AB", "1");
        let defaults = Defaults::new(&image(), &config, "host").unwrap();
        let env: Vec<_> = defaults.env.iter().map(ByteString::lossy).collect();
        assert_eq!(env, ["HOSTNAME=host", "PATH=/bin", "B=x=y", "AB=1"]);
    }

    #[test]
    fn user_directory_and_stop_signal_come_from_the_image_unless_given() {
        let defaults = Defaults::new(&image(), &VmConfig::new(), "h").unwrap();
        assert_eq!(
            (defaults.user.lossy(), defaults.cwd.lossy()),
            ("app".into(), "/srv".into())
        );
        assert_eq!(defaults.stop_signal.number(), 3);
        let config = VmConfig::new()
            .user("0:0")
            .workdir("/x")
            .stop_signal(Signal::INT);
        let defaults = Defaults::new(&image(), &config, "h").unwrap();
        assert_eq!(
            (defaults.user.lossy(), defaults.cwd.lossy()),
            ("0:0".into(), "/x".into())
        );
        assert_eq!(defaults.stop_signal, Signal::INT);
    }

    #[test]
    fn an_exec_starts_from_the_vms_defaults() {
        let defaults = Defaults::new(&image(), &VmConfig::new(), "h").unwrap();
        let wishes = Wishes {
            argv: vec!["id".into()],
            env: vec!["A=9".into()],
            ..Wishes::default()
        };
        let process = defaults.process(wishes).unwrap();
        assert_eq!(process.user, b"app");
        assert!(process.env.contains(&b"A=9".to_vec()) && !process.env.contains(&b"A=1".to_vec()));
    }

    #[test]
    fn a_relative_directory_is_refused_for_the_vm_and_for_an_exec() {
        let refused = ConfigError::Workdir("srv".into());
        assert_eq!(
            Defaults::new(&image(), &VmConfig::new().workdir("srv"), "h").unwrap_err(),
            refused
        );
        let defaults = Defaults::new(&image(), &VmConfig::new(), "h").unwrap();
        let wishes = Wishes {
            argv: vec!["true".into()],
            cwd: Some("srv".into()),
            ..Wishes::default()
        };
        assert_eq!(defaults.process(wishes).unwrap_err(), refused);
    }

    #[test]
    fn what_no_kernel_takes_is_refused_before_it_is_sent() {
        let defaults = Defaults::new(&image(), &VmConfig::new(), "h").unwrap();
        let refused = |argv: Vec<ByteString>, env: Vec<ByteString>| {
            defaults
                .process(Wishes {
                    argv,
                    env,
                    ..Wishes::default()
                })
                .unwrap_err()
        };
        assert_eq!(refused(vec![], vec![]), ConfigError::NoCommand);
        assert_eq!(refused(vec!["".into()], vec![]), ConfigError::NoCommand);
        assert_eq!(
            refused(vec!["a\0b".into()], vec![]),
            ConfigError::ZeroByte("a\0b".into())
        );
        assert_eq!(
            refused(vec!["a".into()], vec!["".into()]),
            ConfigError::Variable("".into())
        );
        assert_eq!(
            refused(vec!["a".into()], vec!["=x".into()]),
            ConfigError::Variable("=x".into())
        );
        let long = "x".repeat(MAX_STRING).as_str().into();
        assert!(matches!(
            refused(vec!["a".into(), long], vec![]),
            ConfigError::StringTooLong {
                len: MAX_STRING,
                ..
            }
        ));
    }

    #[test]
    fn init_systems_want_to_be_pid_1() {
        for (program, wants) in [
            ("/sbin/init", true),
            ("/init", true),
            ("/lib/systemd/systemd", true),
            ("/bin/init", false),
            ("sh", false),
        ] {
            assert_eq!(wants_pid_1(&[program.into()]), wants, "{program}");
        }
    }
}
