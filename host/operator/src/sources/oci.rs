//! Components from a registry: `application/wasm` artifacts, by digest only, so that what was reviewed is what runs.
//!
//! Both the manifest and the layer are checked against their digests here, whatever the registry says of them.

use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::manifest::{IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{ParseError, Reference};
use sha2::{Digest as _, Sha256};
use stepwright_core::error::Blame;
use tokio::io::AsyncWrite;

use super::credentials::{self, Credentials};
use super::unpack::MOST_BYTES;
use super::wishes::shown;

/// The type of the one layer of a component.
const WASM: &str = "application/wasm";
const MANIFEST_TYPES: [&str; 2] = [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];
const CONNECT: Duration = Duration::from_secs(10);

/// How registries are reached.
#[derive(Clone)]
pub struct RegistrySettings {
    /// `host:port` of registries that are spoken to in plain HTTP. All others: TLS.
    pub insecure: Vec<String>,
    /// The `.dockerconfigjson` of a Secret of type `kubernetes.io/dockerconfigjson`, JSON text. `None`: nobody logs in.
    pub docker_config: Option<String>,
    /// Of a component, in bytes.
    pub most_bytes: usize,
    /// For one artifact, from the first byte to the last.
    pub timeout: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { insecure: Vec::new(), docker_config: None, most_bytes: MOST_BYTES, timeout: Duration::from_secs(60) }
    }
}

impl std::fmt::Debug for RegistrySettings {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { insecure, docker_config, most_bytes, timeout } = self;
        let mut shown = f.debug_struct("RegistrySettings");
        shown.field("insecure", insecure).field("has_docker_config", &docker_config.is_some());
        shown.field("most_bytes", most_bytes).field("timeout", timeout).finish()
    }
}

/// Why no component came from a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OciError {
    #[error("`{reference}` {problem}; what is accepted is `registry/repository@sha256:` and 64 hexadecimal digits")]
    ReferenceInvalid { reference: String, problem: String },
    #[error("failed to fetch `{reference}`: {message}; it is tried again")]
    Unreachable { reference: String, message: String },
    #[error("`{reference}` is not in the registry; push it, or name the digest of one that is there")]
    NotFound { reference: String },
    #[error(
        "what the registry answers for `{reference}` has the digest {actual}, not {expected}; nothing of it is used"
    )]
    DigestMismatch { reference: String, expected: String, actual: String },
    #[error(
        "`{reference}` is no WebAssembly component: {found}; what is accepted is an artifact with one layer of type `application/wasm`, as `wkg oci push` and `oras push … FILE:application/wasm` make it"
    )]
    NotWasm { reference: String, found: String },
    #[error("`{reference}` comes to {bytes} bytes; the most that a component may have here is {most}")]
    TooLarge { reference: String, bytes: u64, most: usize },
    #[error("the registry refuses `{reference}` to {who}; {remedy}")]
    Unauthorized { reference: String, who: String, remedy: &'static str },
    #[error(
        "the credentials for registries cannot be read: {message}; what is accepted is a Secret of type kubernetes.io/dockerconfigjson"
    )]
    CredentialsInvalid { message: String },
}

impl OciError {
    /// Annotation, Event reason and metric label: one stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ReferenceInvalid { .. } => "OciReferenceInvalid",
            Self::Unreachable { .. } => "OciUnreachable",
            Self::NotFound { .. } => "OciNotFound",
            Self::DigestMismatch { .. } => "OciDigestMismatch",
            Self::NotWasm { .. } => "OciNotWasm",
            Self::TooLarge { .. } => "OciTooLarge",
            Self::Unauthorized { .. } => "OciUnauthorized",
            Self::CredentialsInvalid { .. } => "OciCredentialsInvalid",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Self::Unreachable { .. } | Self::DigestMismatch { .. } => Blame::Cluster,
            Self::NotWasm { .. } | Self::TooLarge { .. } => Blame::Plugin,
            Self::ReferenceInvalid { .. }
            | Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::CredentialsInvalid { .. } => Blame::User,
        }
    }

    /// Whether trying again may help although nothing is changed here: the registry was away, or has no such artifact yet.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotFound { .. } | Self::Unauthorized { .. })
    }
}

/// Fetches from registries.
#[derive(Debug, Clone)]
pub struct Registry {
    settings: RegistrySettings,
}

impl Registry {
    pub fn new(settings: RegistrySettings) -> Self {
        Self { settings }
    }

    /// The component that the reference names: `registry/repository@sha256:…`. Both digests have been checked.
    ///
    /// The registry's answer to the request for a manifest is bounded by the time-out only.
    pub async fn fetch(&self, reference: &str) -> Result<Vec<u8>, OciError> {
        let image = parse(reference)?;
        let credentials = match &self.settings.docker_config {
            Some(config) => credentials::find(config, image.registry())?,
            None => None,
        };
        let timeout = self.settings.timeout;
        let slow = |_| OciError::Unreachable {
            reference: reference.to_owned(),
            message: format!("it took more than {} s", timeout.as_secs_f32()),
        };
        let transfer = Transfer { settings: &self.settings, reference, image, credentials };
        tokio::time::timeout(timeout, transfer.run()).await.map_err(slow)?
    }
}

/// One component on its way.
struct Transfer<'a> {
    settings: &'a RegistrySettings,
    reference: &'a str,
    image: Reference,
    credentials: Option<Credentials>,
}

impl Transfer<'_> {
    async fn run(&self) -> Result<Vec<u8>, OciError> {
        let protocol = ClientProtocol::HttpsExcept(self.settings.insecure.clone());
        // A client for each artifact: it keeps credentials, and those of the Secret may have changed.
        let client = Client::try_from(ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT.min(self.settings.timeout)),
            platform_resolver: None,
            user_agent: concat!("stepwright/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let client = client.map_err(|error| self.failed(error))?;
        let manifest = self.manifest(&client).await?;
        let layer = self.layer(&manifest)?;
        let size = usize::try_from(layer.size).unwrap_or_default();
        if size > self.settings.most_bytes {
            let (bytes, most) = (layer.size.unsigned_abs(), self.settings.most_bytes);
            return Err(OciError::TooLarge { reference: self.reference.to_owned(), bytes, most });
        }
        let mut sink = Bounded { bytes: Vec::with_capacity(size), most: size };
        match client.pull_blob(&self.image, layer, &mut sink).await {
            Err(OciDistributionError::IoError(error)) if error.kind() == ErrorKind::FileTooLarge => {
                return Err(self.mismatch(&layer.digest, "of a longer file"));
            }
            answer => answer.map_err(|error| self.failed(error))?,
        }
        self.check(&layer.digest, &sink.bytes)?;
        Ok(sink.bytes)
    }

    async fn manifest(&self, client: &Client) -> Result<OciManifest, OciError> {
        let auth = self.credentials.as_ref().map_or(RegistryAuth::Anonymous, Credentials::auth);
        let answer = client.pull_manifest_raw(&self.image, &auth, &MANIFEST_TYPES).await;
        let (bytes, _) = answer.map_err(|error| self.failed(error))?;
        self.check(self.image.digest().unwrap_or_default(), &bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| self.not_wasm(format!("its manifest cannot be read ({error})")))
    }

    fn layer<'m>(&self, manifest: &'m OciManifest) -> Result<&'m OciDescriptor, OciError> {
        let layers = match manifest {
            OciManifest::Image(image) => &image.layers,
            OciManifest::ImageIndex(index) => {
                let found = format!("it is an index of {} manifests; name one of those", index.manifests.len());
                return Err(self.not_wasm(found));
            }
        };
        match layers.as_slice() {
            [layer] if layer.media_type == WASM => Ok(layer),
            [layer] => Err(self.not_wasm(format!("its layer is of type `{}`", shown(&layer.media_type)))),
            layers => Err(self.not_wasm(format!("it has {} layers", layers.len()))),
        }
    }

    fn check(&self, expected: &str, bytes: &[u8]) -> Result<(), OciError> {
        let actual = format!("sha256:{:x}", Sha256::digest(bytes));
        if actual == expected { Ok(()) } else { Err(self.mismatch(expected, &actual)) }
    }

    fn mismatch(&self, expected: &str, actual: &str) -> OciError {
        let reference = self.reference.to_owned();
        OciError::DigestMismatch { reference, expected: shown(expected), actual: shown(actual) }
    }

    fn not_wasm(&self, found: String) -> OciError {
        OciError::NotWasm { reference: self.reference.to_owned(), found }
    }

    fn failed(&self, error: OciDistributionError) -> OciError {
        use OciDistributionError as E;
        let reference = self.reference.to_owned();
        let (who, remedy) = match &self.credentials {
            None => ("anybody who does not log in".to_owned(), "give the operator a Secret with credentials for it"),
            Some(known) => (known.who(), "check what they may pull"),
        };
        let refused = |reference| OciError::Unauthorized { reference, who, remedy };
        match error {
            E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => refused(reference),
            E::ServerError { code: 401 | 403, .. } => refused(reference),
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => OciError::NotFound { reference },
            E::DigestError(DigestError::VerificationError { expected, actual }) => self.mismatch(&expected, &actual),
            E::RegistryError { envelope, url } => {
                use OciErrorCode as C;
                let has = |codes: &[C]| envelope.errors.iter().any(|error| codes.contains(&error.code));
                if has(&[C::Unauthorized, C::Denied]) {
                    refused(reference)
                } else if has(&[C::ManifestUnknown, C::BlobUnknown, C::NameUnknown, C::NotFound]) {
                    OciError::NotFound { reference }
                } else {
                    OciError::Unreachable { reference, message: shown(&format!("{url} answers {envelope}")) }
                }
            }
            other => OciError::Unreachable { reference, message: chain(&other) },
        }
    }
}

/// A reference with a registry and a digest.
fn parse(reference: &str) -> Result<Reference, OciError> {
    let invalid =
        |problem: &str| OciError::ReferenceInvalid { reference: shown(reference), problem: problem.to_owned() };
    let Some((place, digest)) = reference.split_once('@') else {
        return Err(invalid("names no digest, and a tag can be moved to other bytes"));
    };
    let hexadecimal = digest.strip_prefix("sha256:").is_some_and(is_digest);
    if !hexadecimal {
        return Err(invalid("has no digest of SHA-256"));
    }
    let host = place.split_once('/').map_or("", |(host, _)| host);
    if host != "localhost" && !host.contains(['.', ':']) {
        return Err(invalid("names no registry"));
    }
    reference.parse().map_err(|error: ParseError| invalid(&format!("is no reference ({error})")))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.dedup();
    texts.join(": ")
}

/// Takes so many bytes, and no more: what a manifest says of a layer's size need not be true.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, more: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.bytes.len().saturating_add(more.len()) > self.most {
            return Poll::Ready(Err(ErrorKind::FileTooLarge.into()));
        }
        self.bytes.extend_from_slice(more);
        Poll::Ready(Ok(more.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
