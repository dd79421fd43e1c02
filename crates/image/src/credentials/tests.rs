use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// A directory with a `config.json` and a `bin` for helpers.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn with(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        Self { dir }
    }

    fn helper(self, name: &str, script: &str) -> Self {
        let path = self
            .dir
            .path()
            .join("bin")
            .join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn get(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, CredentialError> {
        let path = format!("{}:/usr/bin:/bin", self.dir.path().join("bin").display());
        CredentialFile::in_dir(Some(self.dir.path()))
            .with_search_path(Some(path.into()))
            .get(registry, repository)
    }
}

fn basic(username: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::Basic {
        username: username.into(),
        password: password.into(),
    })
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

#[test]
fn logins_are_found_under_every_spelling_of_a_registry() {
    let auth = encoded("me:pass:with:colons");
    for (key, registry) in [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
    ] {
        let home = Home::with(&format!(
            r#"{{"auths": {{"{key}": {{"auth": "{auth}"}}}}}}"#
        ));
        assert_eq!(
            home.get(registry, "a/b").unwrap(),
            basic("me", "pass:with:colons"),
            "{key}"
        );
        assert_eq!(home.get("other.example", "a/b").unwrap(), None);
    }
}

#[test]
fn the_longest_matching_path_wins() {
    let (all, org) = (encoded("all:1"), encoded("org:2"));
    let home = Home::with(&format!(
        r#"{{"auths": {{"q.io": {{"auth": "{all}"}}, "q.io/org": {{"auth": "{org}"}}}}}}"#
    ));
    assert_eq!(home.get("q.io", "org/app").unwrap(), basic("org", "2"));
    assert_eq!(home.get("q.io", "organic/app").unwrap(), basic("all", "1"));
}

#[test]
fn tokens_and_plain_fields_are_understood() {
    let home = Home::with(
        r#"{"auths": {"a": {"auth": "eDp5", "identitytoken": "id"}, "b": {"registrytoken": "rt"},
            "c": {"username": "u", "password": "p"}, "d": {}, "e": {"auth": ""}}, "HttpHeaders": {"X": "y"}}"#,
    );
    assert_eq!(
        home.get("a", "r").unwrap(),
        Some(Credentials::IdentityToken("id".into()))
    );
    assert_eq!(
        home.get("b", "r").unwrap(),
        Some(Credentials::RegistryToken("rt".into()))
    );
    assert_eq!(home.get("c", "r").unwrap(), basic("u", "p"));
    assert_eq!(home.get("d", "r").unwrap(), None);
    assert_eq!(home.get("e", "r").unwrap(), None);
}

#[test]
fn no_file_means_no_logins_and_a_bad_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        CredentialFile::in_dir(Some(dir.path()))
            .get("a", "b")
            .unwrap(),
        None
    );
    assert_eq!(CredentialFile::in_dir(None).get("a", "b").unwrap(), None);
    assert_eq!(Home::with("  \n").get("a", "b").unwrap(), None);
    let error = Home::with("{").get("a", "b").unwrap_err();
    assert!(matches!(&error, CredentialError::Json { path, .. } if path.ends_with("config.json")));
    for auth in ["%%%", &encoded("no colon")] {
        let home = Home::with(&format!(r#"{{"auths": {{"a": {{"auth": "{auth}"}}}}}}"#));
        assert!(
            matches!(home.get("a", "b").unwrap_err(), CredentialError::Auth { registry, .. } if registry == "a")
        );
    }
}

#[test]
fn helpers_are_asked_by_their_protocol() {
    let script = r#"[ "$1" = get ] || exit 9
read -r server || true
printf '{"ServerURL":"%s","Username":"from %s","Secret":"s3cret"}' "$server" "$server""#;
    let home = Home::with(r#"{"credsStore": "store", "credHelpers": {"special.io": "special"}}"#)
        .helper("store", script)
        .helper(
            "special",
            r#"printf '{"Username":"<token>","Secret":"idtok"}'"#,
        );
    assert_eq!(home.get("a.io", "r").unwrap(), basic("from a.io", "s3cret"));
    assert_eq!(
        home.get("docker.io", "r").unwrap(),
        basic("from https://index.docker.io/v1/", "s3cret")
    );
    assert_eq!(
        home.get("special.io", "r").unwrap(),
        Some(Credentials::IdentityToken("idtok".into()))
    );
}

#[test]
fn a_helper_that_knows_nothing_leaves_the_file_to_be_asked() {
    let auth = encoded("u:p");
    let home = Home::with(&format!(
        r#"{{"credsStore": "s", "auths": {{"a": {{"auth": "{auth}"}}}}}}"#
    ))
    .helper(
        "s",
        "echo 'credentials not found in native keychain'; exit 1",
    );
    assert_eq!(home.get("a", "r").unwrap(), basic("u", "p"));
    assert_eq!(home.get("b", "r").unwrap(), None);
}

#[test]
fn helpers_that_fail_say_how_and_never_show_a_secret() {
    let cause = |home: &Home| match home.get("a", "r").unwrap_err() {
        CredentialError::Helper { source, .. } => source,
        other => panic!("{other}"),
    };
    let config = r#"{"credsStore": "s"}"#;
    assert!(
        matches!(cause(&Home::with(config)), HelperError::Missing { program } if program == "docker-credential-s")
    );
    let failed = cause(&Home::with(config).helper("s", "echo 'key ring is locked'; exit 3"));
    assert!(
        matches!(&failed, HelperError::Failed { message, .. } if message == "key ring is locked")
    );
    let garbage = cause(&Home::with(config).helper("s", "echo 'hunter2 is not JSON'"));
    assert!(matches!(&garbage, HelperError::Answer { .. }));
    assert!(!format!("{garbage} {garbage:?}").contains("hunter2"));
    let elsewhere = cause(&Home::with(r#"{"credsStore": "../../bin/sh"}"#));
    assert!(matches!(elsewhere, HelperError::Name { .. }));
}

#[test]
fn a_helper_that_hangs_is_ended() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec sleep 600"]);
    let error = helper::ask(command, "sh", "a", Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, HelperError::Timeout { .. }));
}

#[test]
fn debug_output_hides_what_is_secret() {
    for credentials in [
        Credentials::Basic {
            username: "u".into(),
            password: "hunter2".into(),
        },
        Credentials::IdentityToken("hunter2".into()),
        Credentials::RegistryToken("hunter2".into()),
    ] {
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
