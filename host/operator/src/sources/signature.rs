//! Whose a component is: a detached ed25519 signature over the component and its manifest.
//!
//! What is signed is `message`: short, so that any tool can sign it, and the manifest is named in it beside the component, so
//! that what an admin reads before trusting is what the signer meant. How a manifest is found in a component is the caller's
//! to know.

use std::collections::BTreeMap;

use stepwright_core::error::Blame;

/// The first line of what is signed: a signature for one purpose is none for another.
const PURPOSE: &str = "stepwright-plugin-v1";

/// An ed25519 public key, and the name under which its admin keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The key of the Secret's data that it came from.
    pub id: String,
    bytes: [u8; 32],
}

/// Why a component is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "the component is not signed, and this operator takes signed ones only; sign it with `stepwright plugins sign --key FILE plugin.wasm` and put what that prints into `data.signature`"
    )]
    Missing,
    #[error("the signature has {bytes} bytes; what is accepted is an ed25519 signature of 64")]
    Malformed { bytes: usize },
    #[error(
        "the signature is by none of the trusted keys ({keys}), or the component was altered after it was signed; sign this very file with a trusted key, or add the signer's public key to the Secret of keys"
    )]
    Invalid {
        /// Ids of the keys that were tried.
        keys: String,
    },
    #[error(
        "no key is trusted: the Secret of keys is empty; put public keys into it, as `stepwright plugins keygen` writes them"
    )]
    NoKeys,
    #[error(
        "key `{id}` of the Secret of keys is no ed25519 public key: {message}; what is accepted is PEM (`BEGIN PUBLIC KEY`) or the base64 of 32 bytes"
    )]
    KeyInvalid { id: String, message: String },
}

impl SignatureError {
    /// Annotation, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "SignatureMissing",
            Self::Malformed { .. } => "SignatureMalformed",
            Self::Invalid { .. } => "SignatureInvalid",
            Self::NoKeys => "SignatureKeysMissing",
            Self::KeyInvalid { .. } => "SignatureKeyInvalid",
        }
    }

    /// Whoever wrote the ConfigMap or the Secret.
    pub fn blame(&self) -> Blame {
        Blame::User
    }
}

/// What is signed. `component` is the whole file, as it is loaded; `manifest` the bytes of its section `stepwright:manifest`.
pub fn message(component: &[u8], manifest: &[u8]) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    format!("{PURPOSE}\n{:x}\n{:x}\n", Sha256::digest(component), Sha256::digest(manifest)).into_bytes()
}

/// The keys of a Secret's data, in the order of their names. One that cannot be read is an error, so that nobody takes a
/// half-read Secret for the whole.
pub fn keys(data: &BTreeMap<String, Vec<u8>>) -> Result<Vec<PublicKey>, SignatureError> {
    data.iter().map(|(id, text)| PublicKey::parse(id, text)).collect()
}

/// Which of the keys signed the component. `manifest` is as in `message`.
pub fn verify<'a>(
    component: &[u8],
    manifest: &[u8],
    signature: Option<&[u8]>,
    keys: &'a [PublicKey],
) -> Result<&'a str, SignatureError> {
    let Some(signature) = signature else { return Err(SignatureError::Missing) };
    if signature.len() != 64 {
        return Err(SignatureError::Malformed { bytes: signature.len() });
    }
    if keys.is_empty() {
        return Err(SignatureError::NoKeys);
    }
    let message = message(component, manifest);
    let signer = keys.iter().find(|key| {
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, key.bytes)
            .verify(&message, signature)
            .is_ok()
    });
    let tried = || keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>().join(", ");
    signer.map(|key| key.id.as_str()).ok_or_else(|| SignatureError::Invalid { keys: tried() })
}

impl PublicKey {
    /// PEM (`BEGIN PUBLIC KEY`), or the base64 of the 32 bytes.
    pub fn parse(id: &str, text: &[u8]) -> Result<Self, SignatureError> {
        let invalid = |message: String| SignatureError::KeyInvalid { id: id.to_owned(), message };
        let bytes = if text.trim_ascii_start().starts_with(b"-----BEGIN") { from_pem(text) } else { from_base64(text) };
        Ok(Self { id: id.to_owned(), bytes: bytes.map_err(invalid)? })
    }
}

/// What precedes the 32 bytes in the DER of an ed25519 key: SEQUENCE { SEQUENCE { 1.3.101.112 }, BIT STRING } (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn from_pem(text: &[u8]) -> Result<[u8; 32], String> {
    use rustls_pki_types::SubjectPublicKeyInfoDer;
    use rustls_pki_types::pem::PemObject as _;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|error| error.to_string())?;
    let rest = der.strip_prefix(&SPKI_PREFIX).ok_or("it is a key of another kind")?;
    rest.try_into().map_err(|_| format!("it has {} bytes", rest.len()))
}

fn from_base64(text: &[u8]) -> Result<[u8; 32], String> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim_ascii())
        .map_err(|error| format!("it is neither PEM nor base64 ({error})"))?;
    bytes.as_slice().try_into().map_err(|_| format!("it has {} bytes", bytes.len()))
}
