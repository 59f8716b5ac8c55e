//! `stepwright plugins keygen` and `sign`: whose a component is, said with ed25519. The check is the operator's.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use pem::Pem;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use stepwright_engine::section;
use stepwright_operator::sources::signature::message;

/// Writes `NAME.key` (PKCS #8, for its owner only) and `NAME.pub`. Both are PEM. Nothing is written over.
pub(crate) fn keygen(out: &Path) -> anyhow::Result<()> {
    let pair = Ed25519KeyPair::generate().context("failed to make a key")?;
    let secret = pair.to_pkcs8v1().context("failed to write down the secret key")?;
    let public = pair.public_key().as_der().context("failed to write down the public key")?;
    let (secret_file, public_file) = (ending(out, "key"), ending(out, "pub"));
    if let Some(file) = [&secret_file, &public_file].into_iter().find(|file| file.exists()) {
        bail!("{} is there already, and a key that is in use must not get lost; choose another name", file.display());
    }
    create(&secret_file, 0o600, &pem::encode(&Pem::new("PRIVATE KEY", secret.as_ref())))?;
    create(&public_file, 0o644, &pem::encode(&Pem::new("PUBLIC KEY", public.as_ref())))?;
    crate::print(&format!("wrote {} (keep it secret) and {}", secret_file.display(), public_file.display()));
    Ok(())
}

/// Signs a packed component, to standard output or into a file.
pub(crate) fn sign(key: &Path, file: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    let shown = key.display();
    let der = PrivatePkcs8KeyDer::from_pem_file(key).with_context(|| {
        format!("failed to read {shown} as a secret key in PEM, as `stepwright plugins keygen` writes it")
    })?;
    let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der())
        .with_context(|| format!("{shown} is no ed25519 key; `stepwright plugins keygen` makes one"))?;
    let component = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let Some(manifest) = section::data(&component) else {
        bail!(
            "{} carries no section `{}`, which is signed with it; run `stepwright plugins pack` on it first",
            file.display(),
            section::NAME
        );
    };
    let signature = pair.sign(&message(&component, manifest));
    let text = base64::engine::general_purpose::STANDARD.encode(signature);
    match out {
        None => crate::print(&text),
        Some(out) => {
            std::fs::write(out, text + "\n").with_context(|| format!("failed to write {}", out.display()))?;
        }
    }
    Ok(())
}

/// With the ending appended: `a.b` becomes `a.b.key`.
fn ending(name: &Path, ending: &str) -> PathBuf {
    let mut file = name.as_os_str().to_owned();
    file.push(".");
    file.push(ending);
    file.into()
}

/// Fails where there is such a file.
fn create(file: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.with_context(|| format!("failed to write {}", file.display()))
}
