//! Byte strings in JSON: text where they are text, a list of numbers where they are not.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// Bytes a guest gets unread. Any value survives the way through JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ByteString(pub(crate) Vec<u8>);

impl ByteString {
    pub(crate) fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<&std::ffi::OsStr> for ByteString {
    fn from(text: &std::ffi::OsStr) -> Self {
        Self(std::os::unix::ffi::OsStrExt::as_bytes(text).to_vec())
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Either<T> {
    Text(T),
    Bytes(Vec<u8>),
}

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Either::Text(text).serialize(serializer),
            Err(_) => Either::<&str>::Bytes(self.0.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Either::<String>::deserialize(deserializer)? {
            Either::Text(text) => Self(text.into_bytes()),
            Either::Bytes(bytes) => Self(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_json() {
        for bytes in [
            &b""[..],
            b"plain",
            "ünï\n\"".as_bytes(),
            &[0xff, 0, b'a'],
            b"123",
        ] {
            let string = ByteString(bytes.to_vec());
            let json = serde_json::to_string(&string).unwrap();
            assert_eq!(
                serde_json::from_str::<ByteString>(&json).unwrap(),
                string,
                "{json}"
            );
        }
    }
}
