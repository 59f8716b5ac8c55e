//! References that name their bytes: a registry, a repository, a digest.

use oci_client::{ParseError, Reference};

use super::OciError;
use crate::sources::wishes::{is_digest, shown};

/// A reference with a registry and a digest.
pub(super) fn parse(reference: &str) -> Result<Reference, OciError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_registry_and_a_digest() {
        let digest = "5".repeat(64);
        for good in ["ghcr.io/a/b@sha256:", "localhost/a@sha256:", "127.0.0.1:5000/a@sha256:", "ghcr.io/a:1.0@sha256:"]
        {
            parse(&format!("{good}{digest}")).unwrap();
        }
        let accepted = "; what is accepted is `registry/repository@sha256:` and 64 hexadecimal digits";
        for (reference, problem) in [
            ("ghcr.io/a/b:1.0".to_owned(), "names no digest, and a tag can be moved to other bytes"),
            ("ghcr.io/a/b".to_owned(), "names no digest, and a tag can be moved to other bytes"),
            ("ghcr.io/a/b@sha256:5".to_owned(), "has no digest of SHA-256"),
            (format!("ghcr.io/a/b@sha512:{digest}"), "has no digest of SHA-256"),
            (format!("ghcr.io/a/b@sha256:{}", "A".repeat(64)), "has no digest of SHA-256"),
            (format!("a/b@sha256:{digest}"), "names no registry"),
            (format!("b@sha256:{digest}"), "names no registry"),
            (format!("ghcr.io/A@sha256:{digest}"), "is no reference (invalid reference format)"),
        ] {
            let error = parse(&reference).unwrap_err();
            assert_eq!(error.to_string(), format!("`{}` {problem}{accepted}", shown(&reference)));
            assert_eq!(error.reason(), "OciReferenceInvalid");
        }
    }
}
