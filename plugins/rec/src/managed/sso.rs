//! Single sign-on for the admin UI (the server's `/v1/cluster/sso`).

use serde_json::json;

use super::{Has, Hidden, Part, need, object};
use crate::seen::Seen;
use crate::spec::said;

const NAME: &str = "sso";
const METADATA: &str = "sso-metadata";

pub(super) fn wanted<'a>(seen: &'a Seen<'_>) -> Option<Result<Part<'a>, (&'static str, String)>> {
    let sso = seen.cluster.spec.sso.as_ref()?;
    let mut part = Part::of_fact(NAME, "single sign-on", "/v1/cluster/sso", seen);
    part.set("control_plane", sso.enabled);
    part.set("enforce_control_plane", sso.enforce);
    part.set("protocol", "saml2");
    // Metadata of the identity provider say all that the issuer would, and win over it (reference, 1.3).
    if let Some(issuer) =
        sso.saml.issuer.as_ref().filter(|_| said(sso.saml.idp_metadata_secret_name.as_ref()).is_none())
    {
        let logout = issuer.logout_url.as_deref();
        let fields =
            [("id", Some(issuer.entity_id.as_str())), ("login_url", Some(&*issuer.login_url)), ("logout_url", logout)];
        part.set("issuer", object(fields));
    }
    part.set_if(
        "service",
        said(sso.saml.service_provider.base_address.as_ref()).map(|address| json!({ "address": address })),
    );
    Some(Ok(part))
}

/// The metadata of the identity provider, which are uploaded and not read back.
pub(super) fn metadata<'a>(seen: &'a Seen<'_>) -> Option<Result<Part<'a>, (&'static str, String)>> {
    let secret = said(seen.cluster.spec.sso.as_ref()?.saml.idp_metadata_secret_name.as_ref())?;
    let mut part =
        Part::put(METADATA, "metadata of the identity provider", "/v1/cluster/sso/saml/metadata/idp", Has::Unread);
    part.method = "POST";
    let key = match need(seen, "spec.sso.saml.idpMetadataSecretName", secret, &["idp_metadata"]) {
        Ok(key) => key,
        Err(why) => return Some(Err((METADATA, why))),
    };
    part.hidden.push(Hidden { field: "idp_metadata".to_owned(), secret: secret.to_owned(), key });
    Some(Ok(part))
}
