use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

fn parse(document: &Value) -> Result<ImageConfig, ConfigError> {
    ImageConfig::parse(document.to_string().as_bytes())
}

#[test]
fn a_full_config_is_read() {
    let layer = Digest::of(b"layer");
    let config = parse(&json!({
        "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", "author": "x",
        "config": {
            "User": "app:staff", "Env": ["PATH=/bin", "Q=a \"b\"\nc", "EMPTY="], "WorkingDir": "/srv/a b",
            "Entrypoint": ["/entry", "a b"], "Cmd": ["--flag"], "StopSignal": "SIGQUIT",
            "ExposedPorts": {"80/tcp": {}, "53/udp": null}, "Volumes": {"/data dir": {}},
            "Labels": {"k": "v", "odd": 7}, "Shell": ["/bin/bash", "-c"], "OnBuild": ["RUN x"], "ArgsEscaped": true,
            "Healthcheck": {"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 30_000_000_000_u64, "Retries": 3,
                "Timeout": 0, "StartInterval": 5_000_000_000_u64},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created_by": "x"}],
    }))
    .unwrap();
    assert_eq!(config.user, "app:staff");
    assert_eq!(config.env, ["PATH=/bin", "Q=a \"b\"\nc", "EMPTY="]);
    assert_eq!(config.working_dir, "/srv/a b");
    assert_eq!(
        (config.entrypoint, config.cmd),
        (vec!["/entry".into(), "a b".into()], vec!["--flag".into()])
    );
    assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(config.exposed_ports, ["53/udp", "80/tcp"]);
    assert_eq!(config.volumes, ["/data dir"]);
    assert_eq!(config.labels, BTreeMap::from([("k".into(), "v".into())]));
    assert_eq!(config.shell, ["/bin/bash", "-c"]);
    assert_eq!(config.diff_ids, [layer]);
    let health = config.healthcheck.unwrap();
    assert_eq!(health.test, HealthTest::Shell("curl -f localhost".into()));
    assert_eq!(
        (health.interval, health.timeout),
        (Some(Duration::from_secs(30)), None)
    );
    assert_eq!(
        (health.start_interval, health.retries),
        (Some(Duration::from_secs(5)), Some(3))
    );
}

#[test]
fn null_and_missing_are_empty_everywhere() {
    let nulls = json!({"config": {
        "User": null, "Env": null, "Entrypoint": null, "Cmd": null, "WorkingDir": null, "ExposedPorts": null,
        "Volumes": null, "Labels": null, "StopSignal": null, "Healthcheck": null, "Shell": null,
    }, "rootfs": {"diff_ids": null}, "created": null});
    for document in [nulls, json!({"config": null}), json!({})] {
        assert_eq!(parse(&document).unwrap(), ImageConfig::default());
    }
}

#[test]
fn a_command_may_be_a_text_but_not_a_number() {
    let config = parse(&json!({"config": {"Cmd": "run me", "Entrypoint": "/e"}})).unwrap();
    assert_eq!(
        (config.cmd, config.entrypoint),
        (vec!["run me".into()], vec!["/e".into()])
    );
    for (field, value) in [
        ("Cmd", json!([1])),
        ("Entrypoint", json!({})),
        ("User", json!(0)),
        ("Env", json!([null])),
    ] {
        let error = parse(&json!({"config": {field: value}})).unwrap_err();
        assert!(matches!(error, ConfigError::Field { field: named, .. } if named == field));
    }
}

#[test]
fn zero_bytes_are_refused_where_they_would_cut_a_text() {
    for field in ["Cmd", "Env", "Volumes"] {
        let error = parse(&json!({"config": {field: ["a\0b"]}})).unwrap_err();
        assert!(matches!(error, ConfigError::Zero { field: named } if named == field));
    }
}

#[test]
fn broken_health_checks_do_not_keep_an_image_from_running() {
    for health in [
        json!({}),
        json!({"Test": []}),
        json!({"Test": "x"}),
        json!({"Test": ["CMD"]}),
        json!({"Test": [1]}),
        json!(7),
    ] {
        assert_eq!(
            parse(&json!({"config": {"Healthcheck": health}}))
                .unwrap()
                .healthcheck,
            None
        );
    }
    let none = parse(&json!({"config": {"Healthcheck": {"Test": ["NONE"]}}})).unwrap();
    assert_eq!(none.healthcheck.unwrap().test, HealthTest::Disabled);
}

#[test]
fn diff_ids_must_be_digests() {
    for diff_ids in [json!(["sha256:12"]), json!([7]), json!("x"), json!({})] {
        assert!(parse(&json!({"rootfs": {"diff_ids": diff_ids}})).is_err());
    }
    assert!(matches!(
        ImageConfig::parse(b"not json"),
        Err(ConfigError::Json(_))
    ));
    assert!(matches!(
        ImageConfig::parse(b"[]"),
        Err(ConfigError::Field { .. })
    ));
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(text in "\\{\"config\":\\{\"(Cmd|Env|Healthcheck|Volumes)\":[\\[\\]{}\",:0-9a-z]{0,40}\\}\\}") {
        let _ = ImageConfig::parse(text.as_bytes());
    }
}
