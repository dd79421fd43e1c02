//! Outside tools, and the store of a test.
use ::image::{
    CredentialFile, ImageRef, NoProgress, PullError, PullOptions, RegistryOptions, RetryPolicy,
    Store, StoredImage,
};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

/// A store in a directory of its own, and options that depend on nothing around the test.
pub struct Bench {
    pub dir: TempDir,
    pub store: Store,
    pub options: PullOptions,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("home")).unwrap();
        Self {
            dir,
            store,
            options: options(),
        }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn pull(&self, reference: &str) -> Result<StoredImage, PullError> {
        self.store
            .pull(&reference.parse().unwrap(), &self.options, &NoProgress)
    }

    pub fn get(&self, reference: &str) -> Option<StoredImage> {
        self.store
            .get(&reference.parse::<ImageRef>().unwrap())
            .unwrap()
    }

    /// Writes a Docker configuration and uses it.
    pub fn docker_config(&mut self, json: &str) {
        let dir = self.path("docker");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), json).unwrap();
        self.options.registry.credentials = CredentialFile::in_dir(Some(&dir));
    }
}

/// Nothing from the environment, and no waits worth mentioning.
pub fn options() -> PullOptions {
    let retry = RetryPolicy {
        attempts: 4,
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(2),
        longest_asked_wait: Duration::from_secs(5),
    };
    PullOptions {
        registry: RegistryOptions {
            retry,
            ..RegistryOptions::default()
        },
        ..PullOptions::default()
    }
}

/// An error and all its causes, as a program shows it.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Fails with what to install if a program is missing.
pub fn require(program: &str, package: &str) {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    assert!(
        found,
        "this test needs `{program}`: apt-get install -y --no-install-recommends {package}"
    );
}

/// Runs a program that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Every file below a directory, as relative paths.
pub fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.push(
                    path.strip_prefix(dir)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    found.sort();
    found
}
