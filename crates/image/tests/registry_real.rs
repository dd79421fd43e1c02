//! Pulling from Debian's `docker-registry`, filled by `skopeo`.
mod support;

use image::{Digest, PullError, RegistryError, SourceError};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::image::{Packing, TestImage, noise, tar};
use support::peer::{Answer, Peer};
use support::tools::{Bench, explain, require, run};

const USER: &str = "me";
const PASSWORD: &str = "hunter2";
/// bcrypt of the password with cost 5, as `htpasswd -Bn` writes it.
const HTPASSWD: &str = "me:$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";

/// A running registry; killed when dropped.
struct Registry {
    process: Child,
    host: String,
    dir: PathBuf,
    is_guarded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// TLS with a certificate of its own, and a login.
    Guarded,
}

impl Registry {
    fn start(dir: &Path, kind: Kind) -> Self {
        require("docker-registry", "docker-registry");
        require("skopeo", "skopeo");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = dir.join("registry");
        fs::create_dir_all(&dir).unwrap();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.display()
        );
        if kind == Kind::Guarded {
            certify(&dir);
            fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
            let at = dir.display();
            config += &format!("  tls: {{certificate: {at}/server.pem, key: {at}/server.key}}\n");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n");
        }
        fs::write(dir.join("config.yml"), config).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let host = format!("127.0.0.1:{port}");
        // It is ready when it takes connections, and lost when it ends.
        while std::net::TcpStream::connect(&host).is_err() {
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{}",
                fs::read_to_string(dir.join("log")).unwrap()
            );
            std::thread::yield_now();
        }
        Self {
            process,
            host,
            dir,
            is_guarded: kind == Kind::Guarded,
        }
    }

    fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Copies from a layout into the registry.
    fn push(&self, layout: &Path, tag: &str, name: &str, further: &[&str]) {
        let mut command = Command::new("skopeo");
        command
            .args([
                "copy",
                "--quiet",
                "--insecure-policy",
                "--dest-tls-verify=false",
            ])
            .args(further);
        if self.is_guarded {
            command
                .arg("--dest-creds")
                .arg(format!("{USER}:{PASSWORD}"));
        }
        run(command
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}/{name}", self.host)));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes a certificate authority and a certificate for the loopback address.
fn certify(dir: &Path) {
    require("openssl", "openssl");
    let openssl = |args: &[&str]| run(Command::new("openssl").args(args).current_dir(dir));
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let ca = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ];
    openssl(&[&ca[..], &key[..]].concat());
    let request = [
        "req",
        "-new",
        "-subj",
        "/CN=registry",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    ];
    openssl(&[&request[..], &key[..]].concat());
    fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.invalid\n",
    )
    .unwrap();
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "ext",
        "-out",
        "server.pem",
    ]);
}

fn sample() -> TestImage {
    let tars = [
        tar(&[("bin/tool", &noise(1, 400_000)), ("etc/conf", b"a=1\n")]),
        tar(&[("bin/other", &noise(2, 200_000))]),
        tar(&[("etc/conf", b"a=2\n")]),
    ];
    TestImage::new(&tars, Packing::Gzip)
}

#[test]
fn registry_layout_and_archives_give_the_same_root() {
    let mut roots = Vec::new();
    let base = Bench::new();
    let registry = Registry::start(base.dir.path(), Kind::Plain);
    let (image, layout) = (sample(), base.path("layout"));
    image.write_layout(&layout, "v1");
    registry.push(&layout, "v1", "team/app:v1", &[]);
    registry.push(&layout, "v1", "team/app:docker", &["--format", "v2s2"]);
    registry.push(
        &layout,
        "v1",
        "team/app:zstd",
        &["--dest-compress-format", "zstd"],
    );
    let from = format!("oci:{}:v1", layout.display());
    for (transport, file) in [("oci-archive", "a.tar"), ("docker-archive", "d.tar")] {
        let to = format!("{transport}:{}:app:v1", base.path(file).display());
        run(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &from, &to]));
    }
    run(Command::new("gzip").arg("-k").arg(base.path("d.tar")));
    let host = &registry.host;
    for reference in [
        from,
        format!("{host}/team/app:v1"),
        format!("{host}/team/app:docker"),
        format!("{host}/team/app:zstd"),
        format!("oci-archive:{}", base.path("a.tar").display()),
        format!("docker-archive:{}", base.path("d.tar").display()),
        format!("docker-archive:{}:app:v1", base.path("d.tar").display()),
        format!("docker-archive:{}", base.path("d.tar.gz").display()),
    ] {
        // A store for each: nothing may be shared.
        let pulled = Bench::new()
            .pull(&reference)
            .unwrap_or_else(|error| panic!("{reference}: {}", explain(&error)));
        assert_eq!(pulled.config.cmd, ["/bin/true"], "{reference}");
        roots.push((pulled.root.digest, reference));
    }
    assert!(
        roots.iter().all(|(root, _)| *root == roots[0].0),
        "{roots:#?}"
    );
}

#[test]
fn a_registry_with_its_own_authority_and_a_login_is_served() {
    let mut bench = Bench::new();
    let registry = Registry::start(bench.dir.path(), Kind::Guarded);
    let (image, layout) = (sample(), bench.path("layout"));
    image.write_layout(&layout, "v1");
    registry.push(&layout, "v1", "team/app:v1", &[]);
    let name = format!("{}/team/app:v1", registry.host);
    let registry_error = |error: PullError| match error {
        PullError::Source { source, .. } => match *source {
            SourceError::Registry(error) => error,
            other => panic!("{}", explain(&other)),
        },
        other => panic!("{}", explain(&other)),
    };

    let untrusted = registry_error(bench.pull(&name).unwrap_err());
    assert!(
        matches!(untrusted, RegistryError::Certificate { .. }),
        "{}",
        explain(&untrusted)
    );
    bench.options.registry.extra_ca = Some(registry.ca());
    let anonymous = registry_error(bench.pull(&name).unwrap_err());
    assert!(
        matches!(anonymous, RegistryError::Denied { .. }),
        "{}",
        explain(&anonymous)
    );

    let login = |bench: &mut Bench, password: &str| {
        let auth = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("{USER}:{password}"),
        );
        bench.docker_config(&format!(
            r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#,
            registry.host
        ));
    };
    login(&mut bench, "wrong");
    let refused = registry_error(bench.pull(&name).unwrap_err());
    assert!(
        matches!(refused, RegistryError::Denied { .. }),
        "{}",
        explain(&refused)
    );
    login(&mut bench, PASSWORD);
    assert_eq!(bench.pull(&name).unwrap().digest, image.digest());
    let missing = registry_error(
        bench
            .pull(&format!("{}/team/app:none", registry.host))
            .unwrap_err(),
    );
    assert!(
        matches!(missing, RegistryError::NotFound { .. }),
        "{}",
        explain(&missing)
    );
}

#[test]
fn a_blob_damaged_in_the_registrys_storage_is_named() {
    let bench = Bench::new();
    let registry = Registry::start(bench.dir.path(), Kind::Plain);
    let (image, layout) = (sample(), bench.path("layout"));
    image.write_layout(&layout, "v1");
    registry.push(&layout, "v1", "app:v1", &[]);
    let layer = Digest::of(&image.layers[0]);
    let hex = layer.hex();
    let stored = registry.dir.join(format!(
        "data/docker/registry/v2/blobs/sha256/{}/{hex}/data",
        &hex[..2]
    ));
    let mut bytes = fs::read(&stored).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&stored, bytes).unwrap();
    let error = bench
        .pull(&format!("{}/app:v1", registry.host))
        .unwrap_err();
    assert!(
        explain(&error).contains(&layer.to_string()),
        "{}",
        explain(&error)
    );
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn a_registry_behind_a_proxy_is_reached_by_its_name_and_certificate() {
    let mut bench = Bench::new();
    let registry = Registry::start(bench.dir.path(), Kind::Guarded);
    let (image, layout) = (sample(), bench.path("layout"));
    image.write_layout(&layout, "v1");
    registry.push(&layout, "v1", "team/app:v1", &[]);
    let target = registry.host.parse().unwrap();
    let proxy = Peer::start(move |request| match request.method.as_str() {
        "CONNECT" => Answer::Tunnel(target),
        _ => Answer::new(400, "a proxy"),
    });
    let auth = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("{USER}:{PASSWORD}"),
    );
    bench.docker_config(&format!(
        r#"{{"auths": {{"registry.invalid": {{"auth": "{auth}"}}}}}}"#
    ));
    bench.options.registry.extra_ca = Some(registry.ca());
    bench.options.registry.proxies.https = Some(format!("http://{}", proxy.host()));
    let pulled = bench
        .pull("registry.invalid/team/app:v1")
        .unwrap_or_else(|error| panic!("{}", explain(&error)));
    assert_eq!(pulled.digest, image.digest());
    // Only names go through the proxy in the clear.
    assert!(
        proxy
            .seen()
            .iter()
            .all(|request| request.target == "registry.invalid:443")
    );
}

/// `skopeo` parses references with Docker's own library; it does so before it looks at anything else.
/// (Debian's is too old for IPv6 addresses and uppercase hosts, so those are left to the unit tests.)
#[test]
fn references_are_accepted_and_refused_as_dockers_library_does() {
    require("skopeo", "skopeo");
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut references: Vec<String> = [
        "alpine",
        "alpine:3.20",
        "a/b/c",
        "localhost/a",
        "localhost:5000/a:b",
        "localhost:5000",
        "host.example/a",
        "-a",
        "a-",
        "a--b",
        "a_b",
        "a__b",
        "a___b",
        "a._b",
        "a..b",
        "a.b",
        "a/b-",
        "a/-b",
        "A",
        "a/B",
        "host.example/A",
        "a:B",
        "a:_b",
        "a:.b",
        "a:-b",
        "a:",
        "a:b:c",
        "a/b:c/d",
        "/a",
        "a/",
        "a//b",
        "",
        "a b",
        "a@sha256:12",
        "host.example:x/a",
        "host.example:/a",
        "-host.example/a",
        "host-.example/a",
        "a.b.c/d",
        "é",
        "127.0.0.1:5000/x/y:z",
        "0a/0b",
        "index.docker.io/a",
        "docker.io/a",
        "https://a.b/c",
        "a?b",
        "a@b",
    ]
    .map(str::to_owned)
    .to_vec();
    references.push(format!("a@sha256:{hex}"));
    references.push(format!("a@sha256:{}", hex.to_uppercase()));
    references.push(format!("a:{}", "t".repeat(128)));
    references.push(format!("a:{}", "t".repeat(129)));
    let empty = tempfile::tempdir().unwrap();
    let from = format!("dir:{}", empty.path().display());
    for reference in references {
        let to = format!("docker://{reference}");
        let output = Command::new("skopeo")
            .args(["copy", "--insecure-policy", &from, &to])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_accepted = !said.contains("Invalid destination name");
        let ours = reference.parse::<image::RegistryRef>();
        assert_eq!(
            ours.is_ok(),
            is_accepted,
            "{reference:?}: we say {ours:?}, skopeo says {said}"
        );
    }
}
