//! Platforms: which operating system and CPU an image was made for.
use std::fmt;
use std::str::FromStr;

/// An operating system, a CPU architecture and its variant, in the words of the OCI image
/// specification (which are Go's `GOOS` and `GOARCH`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`, `v3`; empty for the base of the architecture.
    pub variant: String,
}

/// A text that is not `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {text:?}: write OS/ARCHITECTURE[/VARIANT], for example linux/amd64")]
pub struct PlatformError {
    text: String,
}

impl Platform {
    /// A platform in canonical words: `x86_64` becomes `amd64`, `aarch64` `arm64`, and the variant
    /// that every CPU of an architecture has becomes empty.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (os, architecture, variant) = (
            os.to_ascii_lowercase(),
            architecture.to_ascii_lowercase(),
            variant.to_ascii_lowercase(),
        );
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "v8" | "8" | "") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("i386" | "i486" | "i586" | "i686" | "386", variant) => ("386", variant),
            (architecture, variant) => (architecture, variant),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// What runs in a virtual machine on this host: Linux, on the CPU this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "")
    }

    /// How well an image for `self` serves a machine that is `wanted`; less is better.
    /// `None`: it does not run there.
    ///
    /// The base variant comes first even where the CPU could do more, so that every host picks
    /// the same image.
    pub(crate) fn fitness(&self, wanted: &Platform) -> Option<u8> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        if self.variant == wanted.variant {
            return Some(0);
        }
        if self.architecture != "amd64" {
            return None;
        }
        let level = amd64_level(&self.variant)?;
        if wanted.variant.is_empty() {
            return (level <= host_amd64_level()).then_some(level);
        }
        amd64_level(&wanted.variant)?.checked_sub(level)
    }

    /// Attestations and other by-catch of builders are listed under this name.
    pub(crate) fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

/// The x86-64 psABI's levels, as index entries name them.
fn amd64_level(variant: &str) -> Option<u8> {
    match variant {
        "" => Some(1),
        "v2" => Some(2),
        "v3" => Some(3),
        "v4" => Some(4),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn host_amd64_level() -> u8 {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let v3 = has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt");
    let v4 = has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl");
    match (v2, v3, v4) {
        (true, true, true) => 4,
        (true, true, false) => 3,
        (true, false, _) => 2,
        (false, ..) => 1,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn host_amd64_level() -> u8 {
    1
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        match (parts.as_slice(), parts.iter().all(is_word)) {
            ([os, architecture], true) => Ok(Self::new(os, architecture, "")),
            ([os, architecture, variant], true) => Ok(Self::new(os, architecture, variant)),
            _ => Err(PlatformError {
                text: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_of_a_platform_are_the_same_platform() {
        for (text, canonical) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/i686", "linux/386"),
        ] {
            assert_eq!(
                text.parse::<Platform>().unwrap().to_string(),
                canonical,
                "{text}"
            );
        }
    }

    #[test]
    fn texts_without_two_or_three_parts_are_refused() {
        for text in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/amd64/v1/x",
            "linux/am d64",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_base_variant_is_preferred_and_other_cpus_do_not_fit() {
        let wanted = Platform::new("linux", "amd64", "");
        let fitness = |text: &str| text.parse::<Platform>().unwrap().fitness(&wanted);
        assert_eq!(fitness("linux/amd64"), Some(0));
        assert_eq!(fitness("linux/arm64"), None);
        assert_eq!(fitness("windows/amd64"), None);
        assert_ne!(fitness("linux/amd64/v2"), Some(0));
        assert_eq!(fitness("linux/amd64/v9"), None);
    }

    #[test]
    fn a_variant_that_was_asked_for_comes_first_and_lower_ones_still_run() {
        let v3 = Platform::new("linux", "amd64", "v3");
        assert_eq!(v3.fitness(&v3), Some(0));
        assert_eq!(Platform::new("linux", "amd64", "v2").fitness(&v3), Some(1));
        assert_eq!(Platform::new("linux", "amd64", "").fitness(&v3), Some(2));
        assert_eq!(Platform::new("linux", "amd64", "v4").fitness(&v3), None);
    }
}
