//! The key of this installation, under which compiled plugins are kept: from a file, or from a Secret that is made once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use stepwright_engine::{CacheConfig, CacheKey};

const SECRET: &str = "stepwright-installation";
const KEY: &str = "key";

/// The cache in this folder, with this installation's key.
pub(crate) async fn cache(
    folder: PathBuf,
    max_mib: u32,
    key_file: Option<&Path>,
    client: &Client,
    namespace: &str,
) -> anyhow::Result<CacheConfig> {
    let key = match key_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
            parse(text.as_bytes()).with_context(|| format!("{} holds no key", file.display()))?
        }
        None => from_secret(Api::namespaced(client.clone(), namespace)).await?,
    };
    Ok(CacheConfig { folder, key, max_mib })
}

/// Creates only: of several processes that start at once, one makes the Secret and the others read it.
async fn from_secret(secrets: Api<Secret>) -> anyhow::Result<CacheKey> {
    let context = || format!("failed to get the Secret {SECRET}");
    if let Some(found) = secrets.get_opt(SECRET).await.with_context(context)? {
        return read(&found);
    }
    let fresh = Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(hex::encode(rand::random::<[u8; 32]>()).into()))])),
        immutable: Some(true),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &fresh).await {
        Ok(made) => read(&made),
        Err(kube::Error::Api(status)) if status.code == 409 => read(&secrets.get(SECRET).await.with_context(context)?),
        Err(error) => Err(error).with_context(|| format!("failed to create the Secret {SECRET}")),
    }
}

fn read(secret: &Secret) -> anyhow::Result<CacheKey> {
    let key = secret.data.as_ref().and_then(|data| data.get(KEY));
    let key = key.with_context(|| format!("the Secret {SECRET} has no `{KEY}`; delete it, and it is made anew"))?;
    parse(&key.0).with_context(|| format!("`{KEY}` of the Secret {SECRET} is no key; delete it, and it is made anew"))
}

fn parse(text: &[u8]) -> anyhow::Result<CacheKey> {
    let mut key = [0; 32];
    if hex::decode_to_slice(text.trim_ascii(), &mut key).is_err() {
        bail!("a key is 32 bytes in hexadecimal, 64 letters and digits");
    }
    Ok(CacheKey(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(parse(format!("{}\n", "0a".repeat(32)).as_bytes()).unwrap(), CacheKey([10; 32]));
        for text in ["", "0a", &"0a".repeat(33), &"zz".repeat(32)] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
