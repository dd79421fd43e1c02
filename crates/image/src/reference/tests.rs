use super::*;
use proptest::prelude::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn canonical(text: &str) -> String {
    text.parse::<ImageRef>()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_string()
}

fn refusal(text: &str) -> ReferenceError {
    match text.parse::<ImageRef>() {
        Err(error) => error,
        Ok(parsed) => panic!("{text} was read as {parsed}"),
    }
}

#[test]
fn short_names_are_completed_as_docker_does() {
    for (text, full) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("org/app", "docker.io/org/app:latest"),
        ("org/team/app:1", "docker.io/org/team/app:1"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        (
            "docker.io/library/alpine",
            "docker.io/library/alpine:latest",
        ),
        (
            "index.docker.io/alpine:edge",
            "docker.io/library/alpine:edge",
        ),
        ("ghcr.io/org/app", "ghcr.io/org/app:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[2001:db8::1]/app:2", "[2001:db8::1]/app:2"),
        // No slash: a name and a tag, not a host and a port.
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("reg.example", "docker.io/library/reg.example:latest"),
        // A first part that could not be a repository is a host.
        ("Reg/app", "Reg/app:latest"),
        ("reg.example:443/app", "reg.example:443/app:latest"),
        ("a__b/c-_-d", ""),
        ("a--b/c__d/e.f_g", "docker.io/a--b/c__d/e.f_g:latest"),
        (
            "app:_Tag.With-All_9",
            "docker.io/library/app:_Tag.With-All_9",
        ),
    ] {
        if full.is_empty() {
            assert!(
                matches!(refusal(text), ReferenceError::Malformed { .. }),
                "{text}"
            );
        } else {
            assert_eq!(canonical(text), full, "{text}");
        }
    }
}

#[test]
fn digests_decide_and_take_no_default_tag() {
    let by_digest = format!("alpine@sha256:{HEX}");
    let ImageRef::Registry(parsed) = by_digest.parse().unwrap() else {
        panic!("not a registry")
    };
    assert_eq!(parsed.tag(), None);
    assert_eq!(parsed.wanted(), format!("sha256:{HEX}"));
    let both = canonical(&format!("ghcr.io/o/a:1.2@sha256:{HEX}"));
    assert_eq!(both, format!("ghcr.io/o/a:1.2@sha256:{HEX}"));
    for digest in [
        "sha256:abc",
        &format!("sha256:{}", HEX.to_uppercase()),
        &format!("sha512:{HEX}{HEX}"),
        "md5:aa",
        "",
    ] {
        assert!(
            matches!(
                refusal(&format!("alpine@{digest}")),
                ReferenceError::Digest { .. }
            ),
            "{digest}"
        );
    }
}

#[test]
fn what_is_no_reference_says_why() {
    assert_eq!(refusal(""), ReferenceError::Empty);
    assert!(matches!(
        refusal("Alpine"),
        ReferenceError::Uppercase { .. }
    ));
    assert!(matches!(
        refusal("docker.io/Org/app"),
        ReferenceError::Uppercase { .. }
    ));
    for text in [
        "alpine:",
        "alpine:.x",
        "alpine:-x",
        "alpine:a b",
        &format!("a:{}", "t".repeat(129)),
    ] {
        assert!(
            matches!(refusal(text), ReferenceError::Tag { .. }),
            "{text}"
        );
    }
    for text in [
        "/alpine",
        "alpine:a/b",
        "alpine/",
        "a//b",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "_a",
        "a_",
        "ghcr.io/",
        "a b",
        "é",
        "reg.example:port/app",
        "-reg.example/app",
        "reg-.example/app",
        "reg..example/app",
        // The library in Docker takes this for a repository of a registry without a name.
        "ho_st.example/a",
        "[::1/app",
        "[zz]:1/app",
        "https://reg.example/app",
        "docker://alpine",
        "a@b@c/d",
    ] {
        assert!(text.parse::<ImageRef>().is_err(), "{text}");
    }
    assert!(
        refusal("docker://alpine")
            .to_string()
            .contains("without a scheme")
    );
}

#[test]
fn lengths_are_limited_as_in_the_grammar() {
    let path = format!("a/{}", "b".repeat(253));
    assert_eq!(
        canonical(&format!("reg.example/{path}")),
        format!("reg.example/{path}:latest")
    );
    assert!(matches!(
        refusal(&format!("reg.example/{path}b")),
        ReferenceError::NameTooLong {
            len: 256,
            limit: 255
        }
    ));
    let tag = "t".repeat(128);
    assert_eq!(
        canonical(&format!("a:{tag}")),
        format!("docker.io/library/a:{tag}")
    );
}

#[test]
fn familiar_names_are_what_docker_prints() {
    for (text, familiar) in [
        ("alpine", "alpine:latest"),
        ("docker.io/org/app:1", "org/app:1"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("ghcr.io/o/a", "ghcr.io/o/a:latest"),
    ] {
        assert_eq!(text.parse::<RegistryRef>().unwrap().familiar(), familiar);
    }
}

#[test]
fn paths_end_at_their_first_colon_or_at_a_digest() {
    for (text, full) in [
        ("oci:dir", "oci:dir"),
        ("oci:/a/b:tag", "oci:/a/b:tag"),
        ("oci-layout:/a/b", "oci:/a/b"),
        (
            "oci:/a/b:docker.io/library/x:1",
            "oci:/a/b:docker.io/library/x:1",
        ),
        ("oci-archive:f.tar:1", "oci-archive:f.tar:1"),
        ("docker-archive:f.tar", "docker-archive:f.tar"),
        (
            "docker-archive:f.tar:alpine:3",
            "docker-archive:f.tar:alpine:3",
        ),
        ("rootfs:/a:b", "rootfs:/a:b"),
    ] {
        assert_eq!(canonical(text), full, "{text}");
    }
    let by_digest = format!("oci:/a/b@sha256:{HEX}");
    assert_eq!(canonical(&by_digest), by_digest);
    let ImageRef::Layout {
        dir,
        pick: Pick::Digest(_),
    } = by_digest.parse().unwrap()
    else {
        panic!("no digest")
    };
    assert_eq!(dir, Path::new("/a/b"));
    for text in [
        "oci:",
        "oci::tag",
        "oci-archive:",
        "docker-archive:",
        "rootfs:",
    ] {
        assert!(
            matches!(refusal(text), ReferenceError::NoPath { .. }),
            "{text}"
        );
    }
    assert!(matches!(
        refusal("oci:dir@sha256:12"),
        ReferenceError::Digest { .. }
    ));
}

#[test]
fn ids_are_told_from_names() {
    assert_eq!(canonical(HEX), format!("sha256:{HEX}"));
    assert_eq!(canonical("sha256:e3b0c442"), "sha256:e3b0c442");
    let ImageRef::Registry(name) = "4bcff63911fc".parse().unwrap() else {
        panic!("not a name")
    };
    assert_eq!(name.as_id().unwrap().hex(), "4bcff63911fc");
    for text in [
        "alpine",
        "4bcff63911fc:1",
        "org/4bcff63911fc",
        "ghcr.io/library/4bcff63911fc",
        "abc",
    ] {
        let ImageRef::Registry(name) = text.parse().unwrap() else {
            panic!("not a name")
        };
        assert_eq!(name.as_id(), None, "{text}");
    }
}

#[test]
fn absolute_paths_do_not_depend_on_the_directory() {
    let relative: ImageRef = "oci:some/dir:tag".parse().unwrap();
    let absolute = relative.absolute().unwrap();
    assert!(absolute.path().unwrap().is_absolute());
    assert!(absolute.to_string().ends_with("/some/dir:tag"));
    let registry: ImageRef = "alpine".parse().unwrap();
    assert_eq!(registry.absolute().unwrap(), registry);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_canonical_forms_are_stable(text in "[a-zA-Z0-9:/@._\\-\\[\\] é]{0,80}") {
        if let Ok(parsed) = text.parse::<ImageRef>() {
            let full = parsed.to_string();
            let again: ImageRef = full.parse().unwrap();
            prop_assert_eq!(&again, &parsed, "{}", full);
            prop_assert_eq!(again.to_string(), full);
        }
    }

    #[test]
    fn every_reference_of_the_grammar_is_read_back(
        host in proptest::option::of("[a-z][a-z0-9]{0,5}\\.[a-z]{2,3}(:[0-9]{1,4})?"),
        path in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,8}){0,3}",
        tag in proptest::option::of("[a-zA-Z0-9_][a-zA-Z0-9_.\\-]{0,20}"),
    ) {
        // Without a host, a first part with a dot would be taken for one.
        let host_part = format!("{}/", host.as_deref().unwrap_or("docker.io"));
        let tag_part = tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let parsed: RegistryRef = format!("{host_part}{path}{tag_part}").parse().unwrap();
        prop_assert_eq!(parsed.tag(), Some(tag.as_deref().unwrap_or("latest")));
        if let Some(host) = host {
            prop_assert_eq!(parsed.domain(), host);
            prop_assert_eq!(parsed.repository(), path);
        }
    }
}
