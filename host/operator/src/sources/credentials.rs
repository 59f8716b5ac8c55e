//! Credentials for a registry, out of what `docker login` and `kubectl create secret docker-registry` write.

use std::collections::BTreeMap;

use base64::Engine as _;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::oci::OciError;

/// For one registry. It has no `Debug`, so that nothing prints it.
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// For a message: never the password.
    pub(super) fn who(&self) -> String {
        format!("user `{}`", self.user)
    }

    pub(super) fn auth(&self) -> RegistryAuth {
        RegistryAuth::Basic(self.user.clone(), self.password.clone())
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// The base64 of `user:password`.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// Those for the registry; `None` if there are none for it. `config` is JSON text.
pub(super) fn find(config: &str, registry: &str) -> Result<Option<Credentials>, OciError> {
    let invalid = |message: String| OciError::CredentialsInvalid { message };
    // The text of serde's error may repeat what stands in the document; its place may not.
    let config: DockerConfig = serde_json::from_str(config)
        .map_err(|error| invalid(format!("line {} column {} is not as expected", error.line(), error.column())))?;
    let Some((host, entry)) = config.auths.iter().find(|(key, _)| host(key) == host(registry)) else { return Ok(None) };
    if let (Some(user), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Some(Credentials { user: user.clone(), password: password.clone() }));
    }
    let decoded = entry.auth.as_ref().and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = text.as_deref().and_then(|text| text.split_once(':'));
    let (user, password) = pair.ok_or_else(|| invalid(format!("the entry for `{host}` has no user and password")))?;
    Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
}

/// `https://index.docker.io/v1/` and `docker.io` are one.
fn host(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match bare.split('/').next().unwrap_or(bare) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(config: &str, registry: &str) -> Result<Option<(String, String)>, String> {
        let found = find(config, registry).map_err(|error| error.to_string())?;
        Ok(found.map(|it| (it.user, it.password)))
    }

    #[test]
    fn credentials_are_found_by_host_whatever_the_key_looks_like() {
        let pair = Some(("ann".to_owned(), "s3:cret".to_owned()));
        let auth = base64::engine::general_purpose::STANDARD.encode("ann:s3:cret");
        for (key, registry) in [
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io", "ghcr.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
        ] {
            let config = serde_json::json!({"auths": {key: {"auth": auth}}}).to_string();
            assert_eq!(who(&config, registry), Ok(pair.clone()), "{key}");
        }
        let config = serde_json::json!({"auths": {"a.b": {"username": "ann", "password": "s3:cret"}}}).to_string();
        assert_eq!(who(&config, "a.b"), Ok(pair));
        assert_eq!(who(&config, "a.b:5000"), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_repeating_it() {
        let refused = |config: &str| who(config, "a.b").unwrap_err();
        assert_eq!(
            refused(r#"{"auths": {"a.b": "hunter2"}}"#),
            "the credentials for registries cannot be read: line 1 column 27 is not as expected; what is accepted is a Secret of type kubernetes.io/dockerconfigjson"
        );
        assert_eq!(
            refused(r#"{"auths": {"a.b": {"auth": "aHVudGVyMg=="}}}"#),
            "the credentials for registries cannot be read: the entry for `a.b` has no user and password; what is accepted is a Secret of type kubernetes.io/dockerconfigjson"
        );
    }
}
