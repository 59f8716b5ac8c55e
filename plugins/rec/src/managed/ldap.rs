//! Login by LDAP (REST reference, 4.5).

use serde_json::{Value, json};

use super::{Hidden, Part, need};
use crate::seen::Seen;
use crate::spec::{Ldap, LdapSearch, LdapServer, said};

pub(super) const NAME: &str = "ldap";

pub(super) fn wanted<'a>(seen: &'a Seen<'_>) -> Option<Result<Part<'a>, (&'static str, String)>> {
    let ldap = seen.cluster.spec.ldap.as_ref()?;
    Some(part(seen, ldap).map_err(|why| (NAME, why)))
}

fn part<'a>(seen: &'a Seen<'_>, ldap: &Ldap) -> Result<Part<'a>, String> {
    let mut part = Part::of_fact(NAME, "LDAP settings", "/v1/cluster/ldap", seen);
    let uris: Vec<String> = ldap.servers.iter().map(|server| uri(ldap, server)).collect();
    part.set("uris", uris);
    part.set("starttls", ldap.protocol == "STARTTLS");
    part.set("control_plane", ldap.enabled_for_control_plane.unwrap_or_default());
    part.set("data_plane", ldap.enabled_for_data_plane.unwrap_or_default());
    part.set_if("cache_ttl", ldap.cache_ttl_seconds);
    part.set_if("directory_timeout_s", ldap.directory_timeout_seconds);
    part.set_if("user_dn_template", said(ldap.authentication_query.template.as_ref()));
    part.set_if("user_dn_query", ldap.authentication_query.query.as_ref().map(search));
    part.set_if("dn_group_attr", said(ldap.authorization_query.attribute.as_ref()));
    part.set_if("dn_group_query", ldap.authorization_query.query.as_ref().map(search));
    part.set_if("cba", ldap.cba);
    let source = said(ldap.cba_identity_source.as_ref());
    part.set_if(
        "cba_identity_source",
        source.map(|word| if word == "SubjectOID" { "subject_oid" } else { "subject_cn" }),
    );
    part.set_if("cba_identity_oid", said(ldap.cba_identity_oid.as_ref()));
    let mut hide = |field: &str, of: &str, secret: Option<&str>, key: &str| -> Result<(), String> {
        let Some(secret) = secret else { return Ok(()) };
        let key = need(seen, of, secret, &[key])?;
        part.hidden.push(Hidden { field: field.to_owned(), secret: secret.to_owned(), key });
        Ok(())
    };
    let bind = said(ldap.bind_credentials_secret_name.as_ref());
    hide("bind_dn", "spec.ldap.bindCredentialsSecretName", bind, "dn")?;
    hide("bind_pass", "spec.ldap.bindCredentialsSecretName", bind, "password")?;
    let authority = said(ldap.ca_certificate_secret_name.as_ref());
    hide("ca_cert", "spec.ldap.caCertificateSecretName", authority, "cert")?;
    Ok(part)
}

fn uri(ldap: &Ldap, server: &LdapServer) -> String {
    let (scheme, usual) = if ldap.protocol == "LDAPS" { ("ldaps", 636) } else { ("ldap", 389) };
    format!("{scheme}://{}:{}", server.host, server.port.unwrap_or(usual))
}

fn search(search: &LdapSearch) -> Value {
    let scope = match search.scope.as_str() {
        "BaseObject" => "base",
        "SingleLevel" => "one",
        _ => "subtree",
    };
    json!({ "base": search.base, "filter": search.filter, "scope": scope })
}
