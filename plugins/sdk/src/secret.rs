//! Values of secrets that a plan places without knowing them. Nothing here holds a secret.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// A value under `stringData` of a desired Secret, or anywhere a string is wanted in a call's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// Plain text: for what is no secret, such as a user name.
    Plain(String),
    /// Made once by the host and then kept; only in a desired Secret.
    Generate {
        /// Characters.
        length: u32,
    },
    /// The value of a Secret in the primary's namespace, filled in by the host at the last moment.
    SecretKeyRef {
        /// Name of the Secret.
        name: String,
        /// Key in its data.
        key: String,
    },
    /// Texts and values of Secrets, put together by the host at the last moment. See [`address`].
    Address {
        /// `Plain` and `SecretKeyRef` only.
        parts: Vec<SecretValue>,
    },
}

/// Asks for a value of this many characters that the host makes once and then keeps.
pub fn generate(length: u32) -> SecretValue {
    SecretValue::Generate { length }
}

/// The value of a Secret in the primary's namespace.
pub fn secret_ref(name: impl Into<String>, key: impl Into<String>) -> SecretValue {
    SecretValue::SecretKeyRef { name: name.into(), key: key.into() }
}

/// An address that holds values of Secrets, which the host percent-encodes: `[plain("redis://:"), secret_ref(…), plain("@host:1")]`.
/// Parts that are neither plain nor references are refused by the host.
pub fn address(parts: impl IntoIterator<Item = SecretValue>) -> SecretValue {
    SecretValue::Address { parts: parts.into_iter().collect() }
}

/// Plain text among secrets.
pub fn plain(text: impl Into<String>) -> SecretValue {
    SecretValue::Plain(text.into())
}

#[derive(Serialize)]
struct Generate {
    length: u32,
}

#[derive(Serialize)]
struct Join<'a> {
    parts: &'a [SecretValue],
    encoding: &'static str,
}

#[derive(Serialize)]
struct KeyRef<'a> {
    name: &'a str,
    key: &'a str,
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Generate { length } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("$generate", &Generate { length: *length })?;
                map.end()
            }
            Self::SecretKeyRef { name, key } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("$secretKeyRef", &KeyRef { name, key })?;
                map.end()
            }
            Self::Address { parts } => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("$join", &Join { parts, encoding: "uri" })?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &SecretValue, json: &str) {
        assert_eq!(serde_json::to_string(value).unwrap(), json);
    }

    #[test]
    fn directives_are_written_as_the_contract_says() {
        check(&plain("demo@redis.com"), r#""demo@redis.com""#);
        check(&generate(32), r#"{"$generate":{"length":32}}"#);
        check(&secret_ref("rec", "password"), r#"{"$secretKeyRef":{"name":"rec","key":"password"}}"#);
        check(
            &address([plain("redis://:"), secret_ref("redb-a", "password"), plain("@h:1")]),
            r#"{"$join":{"parts":["redis://:",{"$secretKeyRef":{"name":"redb-a","key":"password"}},"@h:1"],"encoding":"uri"}}"#,
        );
    }
}
