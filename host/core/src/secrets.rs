//! Secrets as plugins know them: fingerprints in what they see, directives in what they return.
//!
//! A plugin places and compares secrets; it never reads one. Filling in directives happens here on plain values; where
//! a value comes from (a Secret, a source of randomness) is the caller's. No error and no `Debug` text holds a value.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::{Key, KeyInit};
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;

/// Longest value that may be asked for: far above any password, far below what would bloat a Secret.
const MAX_LENGTH: usize = 1024;
/// Letters and digits only: safe in URLs, shells and configuration files.
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const GENERATE: &str = "$generate";
const SECRET_KEY_REF: &str = "$secretKeyRef";
const JOIN: &str = "$join";
/// kubectl's copy of what was applied: for a Secret, its values in the clear.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Turns secret values into fingerprints: equal for equal values, useless outside the process that holds the key.
#[derive(Clone)]
pub struct Fingerprinter {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

impl Fingerprinter {
    pub fn new(key: [u8; 32]) -> Self {
        // HMAC pads a short key with zeros to the block; done here, the constructor cannot fail.
        let mut block = [0; 64];
        for (place, byte) in block.iter_mut().zip(key) {
            *place = byte;
        }
        Self { keyed: <Hmac<Sha256> as KeyInit>::new(&Key::<Hmac<Sha256>>::from(block)) }
    }

    /// `fp:` and 32 hexadecimal digits.
    pub fn fingerprint(&self, value: &[u8]) -> String {
        let digest = self.keyed.clone().chain_update(value).finalize().into_bytes();
        let half: Vec<u8> = digest.into_iter().take(16).collect();
        format!("fp:{}", hex::encode(half))
    }

    /// Puts fingerprints in the place of the values of a Secret (base64 as the API server gives them, decoded first).
    pub fn fingerprint_secret_object(&self, secret: &mut Value) {
        let Value::Object(fields) = secret else { return };
        fields.remove("stringData");
        if let Some(Value::Object(data)) = fields.get_mut("data") {
            for value in data.values_mut() {
                let text = value.as_str().unwrap_or_default();
                let fingerprint = match STANDARD.decode(text) {
                    Ok(bytes) => self.fingerprint(&bytes),
                    Err(_) => self.fingerprint(text.as_bytes()),
                };
                *value = Value::String(fingerprint);
            }
        } else {
            // Anything else than a map is no Secret's data, but may still hold a value.
            fields.remove("data");
        }
        if let Some(annotations) = secret.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }

    /// Puts fingerprints in the place of every text inside fields of these names, at any depth.
    pub fn redact(&self, value: &mut Value, fields: &[&str]) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    if fields.contains(&name.as_str()) { self.replace_texts(value) } else { self.redact(value, fields) }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact(item, fields)),
            _ => {}
        }
    }

    fn replace_texts(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.fingerprint(text.as_bytes()),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_texts(item)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.replace_texts(value)),
            _ => {}
        }
    }
}

/// Names one value of a Secret in the primary's namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKeyRef {
    pub name: String,
    pub key: String,
}

/// Asks for a random value that is made once and then kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generate {
    length: usize,
    alphabet: Vec<u8>,
}

impl Generate {
    /// How many characters: 1 to 1024.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The characters to choose from: distinct, printable ASCII, at least two.
    pub fn alphabet(&self) -> &[u8] {
        &self.alphabet
    }
}

/// A place that the host fills in: `{"$generate": {"length": 32}}` or `{"$secretKeyRef": {"name": …, "key": …}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    Generate(Generate),
    SecretKeyRef(SecretKeyRef),
}

/// Texts and values of Secrets put together into one, such as an address that holds a password:
/// `{"$join": {"parts": ["redis://:", {"$secretKeyRef": …}, "@host:6379"], "encoding": "uri"}}`.
///
/// With `encoding: uri` what comes from Secrets is percent-encoded, so that no value can end its place in an address; the texts
/// are the plugin's own, and stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Join {
    parts: Vec<Part>,
    uri: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Secret(SecretKeyRef),
}

impl Join {
    /// The directive that `value` is; `None` if it is something else.
    fn parse(value: &Value) -> Result<Option<Self>, SecretError> {
        let Some(arguments) = value.as_object().and_then(|fields| fields.get(JOIN)) else { return Ok(None) };
        if value.as_object().is_some_and(|fields| fields.len() != 1) {
            return Err(SecretError::directive(format!("`{JOIN}` must be the only field of its object")));
        }
        let shape = || {
            SecretError::directive(format!(
                "`{JOIN}` takes `parts`, a list of texts and `{SECRET_KEY_REF}`, and `encoding`, which is `uri` or left out"
            ))
        };
        let arguments = arguments.as_object().ok_or_else(shape)?;
        only(JOIN, arguments, &["parts", "encoding"])?;
        let uri = match arguments.get("encoding").map(Value::as_str) {
            None => false,
            Some(Some("uri")) => true,
            Some(_) => return Err(shape()),
        };
        let part = |part: &Value| match (Directive::parse(part)?, part) {
            (Some(Directive::SecretKeyRef(reference)), _) => Ok(Part::Secret(reference)),
            (None, Value::String(text)) => Ok(Part::Text(text.clone())),
            _ => Err(shape()),
        };
        let parts = arguments.get("parts").and_then(Value::as_array).filter(|parts| !parts.is_empty());
        let parts = parts.ok_or_else(shape)?.iter().map(part).collect::<Result<_, _>>()?;
        Ok(Some(Self { parts, uri }))
    }

    fn references(&self) -> impl Iterator<Item = &SecretKeyRef> {
        self.parts.iter().filter_map(|part| match part {
            Part::Secret(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }

    fn text(self, lookup: &mut dyn FnMut(SecretKeyRef) -> Result<String, SecretError>) -> Result<String, SecretError> {
        let mut whole = String::new();
        for part in self.parts {
            match part {
                Part::Text(text) => whole.push_str(&text),
                Part::Secret(reference) => {
                    let value = lookup(reference)?;
                    if self.uri { percent_encode(&value, &mut whole) } else { whole.push_str(&value) }
                }
            }
        }
        Ok(whole)
    }
}

/// Leaves what RFC 3986 calls unreserved.
fn percent_encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Why a secret could not be put in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("Secret `{name}` does not exist or has no text under key `{key}`")]
    Missing { name: String, key: String },
    #[error("`$generate` makes values of Secrets only; elsewhere refer to the Secret with `$secretKeyRef`")]
    GenerateOutsideSecret,
    #[error("malformed directive: {message}")]
    Directive { message: String },
    #[error("`stringData.{key}` must be a text, `$generate`, `$secretKeyRef` or `$join`")]
    Value { key: String },
    #[error("a desired Secret: {message}")]
    Shape { message: String },
}

impl SecretError {
    /// Condition reason, Event reason and metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SecretMissing",
            Self::GenerateOutsideSecret => "GenerateOutsideSecret",
            Self::Directive { .. } => "DirectiveMalformed",
            Self::Value { .. } => "SecretValueMalformed",
            Self::Shape { .. } => "SecretMalformed",
        }
    }

    fn directive(message: impl Into<String>) -> Self {
        Self::Directive { message: message.into() }
    }
}

impl Directive {
    /// The directive that `value` is; `None` if it is an ordinary value. A name with `$` that is no directive is an error.
    pub fn parse(value: &Value) -> Result<Option<Self>, SecretError> {
        let Value::Object(fields) = value else { return Ok(None) };
        let Some(name) = fields.keys().find(|name| name.starts_with('$')) else { return Ok(None) };
        let shown: String = name.chars().take(40).collect();
        if fields.len() != 1 {
            return Err(SecretError::directive(format!("`{shown}` must be the only field of its object")));
        }
        let Some(Value::Object(arguments)) = fields.get(name) else {
            return Err(SecretError::directive(format!("the value of `{shown}` must be an object")));
        };
        match name.as_str() {
            GENERATE => generate(arguments).map(Self::Generate).map(Some),
            SECRET_KEY_REF => secret_key_ref(arguments).map(Self::SecretKeyRef).map(Some),
            _ => Err(SecretError::directive(format!(
                "`{shown}` is none here; `{GENERATE}`, `{SECRET_KEY_REF}` and `{JOIN}` are"
            ))),
        }
    }
}

fn only(directive: &str, arguments: &Map<String, Value>, known: &[&str]) -> Result<(), SecretError> {
    match arguments.keys().find(|name| !known.contains(&name.as_str())) {
        Some(_) => Err(SecretError::directive(format!("`{directive}` takes only {}", known.join(", ")))),
        None => Ok(()),
    }
}

fn generate(arguments: &Map<String, Value>) -> Result<Generate, SecretError> {
    only(GENERATE, arguments, &["length", "alphabet"])?;
    let length = arguments.get("length").and_then(Value::as_u64).and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| (1..=MAX_LENGTH).contains(length)) else {
        return Err(SecretError::directive(format!(
            "`length` of `{GENERATE}` must be a number from 1 to {MAX_LENGTH}"
        )));
    };
    let alphabet = match arguments.get("alphabet") {
        None => ALPHANUMERIC.to_vec(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(_) => Vec::new(),
    };
    let distinct: BTreeSet<u8> = alphabet.iter().copied().collect();
    let good = distinct.len() >= 2 && distinct.len() == alphabet.len();
    if !good || !alphabet.iter().all(u8::is_ascii_graphic) {
        return Err(SecretError::directive(format!(
            "`alphabet` of `{GENERATE}` must be a text of at least two distinct printable ASCII characters"
        )));
    }
    Ok(Generate { length, alphabet })
}

fn secret_key_ref(arguments: &Map<String, Value>) -> Result<SecretKeyRef, SecretError> {
    only(SECRET_KEY_REF, arguments, &["name", "key"])?;
    let argument = |name: &str| {
        let text = arguments.get(name).and_then(Value::as_str).filter(|text| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            (1..=253).contains(&text.len()) && text.bytes().all(plain)
        });
        let message = || format!("`{name}` of `{SECRET_KEY_REF}` must be a name as Kubernetes takes it");
        text.map(str::to_owned).ok_or_else(|| SecretError::directive(message()))
    };
    Ok(SecretKeyRef { name: argument("name")?, key: argument("key")? })
}

/// Whether the primary itself names a Secret: somewhere in its spec, as a whole text, or by its own name, which the Secret's
/// name is, begins with or ends with (`mydb`, `redb-mydb`, `mydb-tls`).
///
/// `spec` is what people wrote of it; what a step filled in must not count, or a step could name any Secret there.
pub fn is_named(secret: &str, primary: &str, spec: &Value) -> bool {
    if primary.is_empty() || secret.is_empty() {
        return false;
    }
    let by_name = secret == primary
        || secret.strip_prefix(primary).is_some_and(|rest| rest.starts_with('-'))
        || secret.strip_suffix(primary).is_some_and(|rest| rest.ends_with('-'));
    by_name || holds_text(spec, secret)
}

fn holds_text(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| holds_text(item, wanted)),
        Value::Object(fields) => fields.values().any(|value| holds_text(value, wanted)),
        _ => false,
    }
}

/// Every value of a Secret that `value` refers to.
pub fn collect_refs(value: &Value) -> Result<BTreeSet<SecretKeyRef>, SecretError> {
    let mut found = BTreeSet::new();
    collect(value, &mut found)?;
    Ok(found)
}

fn collect(value: &Value, found: &mut BTreeSet<SecretKeyRef>) -> Result<(), SecretError> {
    if let Some(join) = Join::parse(value)? {
        found.extend(join.references().cloned());
        return Ok(());
    }
    match Directive::parse(value)? {
        Some(Directive::SecretKeyRef(reference)) => {
            found.insert(reference);
            Ok(())
        }
        Some(Directive::Generate(_)) => Ok(()),
        None => match value {
            Value::Object(fields) => fields.values().try_for_each(|value| collect(value, found)),
            Value::Array(items) => items.iter().try_for_each(|item| collect(item, found)),
            _ => Ok(()),
        },
    }
}

/// `value` with every directive replaced by the text that `fill` gives for it.
pub fn resolve(
    value: Value,
    fill: &mut dyn FnMut(&Directive) -> Result<String, SecretError>,
) -> Result<Value, SecretError> {
    if let Some(join) = Join::parse(&value)? {
        let whole = join.text(&mut |reference| fill(&Directive::SecretKeyRef(reference)))?;
        return Ok(Value::String(whole));
    }
    if let Some(directive) = Directive::parse(&value)? {
        return fill(&directive).map(Value::String);
    }
    Ok(match value {
        Value::Object(fields) => {
            let filled = fields.into_iter().map(|(name, value)| Ok((name, resolve(value, fill)?)));
            Value::Object(filled.collect::<Result<_, _>>()?)
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| resolve(item, fill)).collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

/// A desired Secret, written with `stringData`, as it is to be applied: with `data`, every value in it.
///
/// `current_data` is the live Secret's `data`: what `$generate` made before is kept from there.
pub fn secret_data(
    desired: Value,
    current_data: Option<&Value>,
    lookup: &mut dyn FnMut(&SecretKeyRef) -> Result<String, SecretError>,
    random: &mut dyn FnMut(&Generate) -> String,
) -> Result<Value, SecretError> {
    let shape = |message: &str| SecretError::Shape { message: message.to_owned() };
    let Value::Object(mut fields) = desired else { return Err(shape("must be an object")) };
    if fields.contains_key("data") {
        return Err(shape("write `stringData`; the host encodes it"));
    }
    let texts = match fields.remove("stringData") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(texts)) => texts,
        Some(_) => return Err(shape("`stringData` must be an object")),
    };
    let mut data = Map::new();
    for (key, value) in texts {
        if let Some(join) = Join::parse(&value)? {
            let whole = join.text(&mut |reference| lookup(&reference))?;
            data.insert(key, Value::String(STANDARD.encode(whole)));
            continue;
        }
        let encoded = match (Directive::parse(&value)?, value) {
            (Some(Directive::SecretKeyRef(reference)), _) => STANDARD.encode(lookup(&reference)?),
            (Some(Directive::Generate(generate)), _) => {
                let kept = current_data.and_then(|data| data.get(&key)).and_then(Value::as_str);
                match kept.filter(|kept| !kept.is_empty()) {
                    Some(kept) => kept.to_owned(),
                    None => STANDARD.encode(random(&generate)),
                }
            }
            (None, Value::String(text)) => STANDARD.encode(text),
            (None, _) => return Err(SecretError::Value { key }),
        };
        data.insert(key, Value::String(encoded));
    }
    fields.insert("data".to_owned(), Value::Object(data));
    Ok(Value::Object(fields))
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
