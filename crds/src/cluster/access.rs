//! Fields of a cluster about who may log in and how that is proven: certificates, LDAP, single sign-on.

words! {
    /// Where secrets are kept.
    pub enum CredentialStore {
        Vault = "vault",
        Kubernetes = "kubernetes",
    }
}

words! {
    /// Transport to an LDAP server.
    pub enum LdapProtocol {
        Ldap = "LDAP",
        Ldaps = "LDAPS",
        StartTls = "STARTTLS",
    }
}

words! {
    /// How deep an LDAP search goes.
    pub enum LdapScope {
        BaseObject = "BaseObject",
        SingleLevel = "SingleLevel",
        WholeSubtree = "WholeSubtree",
    }
}

words! {
    /// What of a client certificate names the user.
    pub enum CbaIdentitySource {
        SubjectCn = "SubjectCN",
        SubjectOid = "SubjectOID",
    }
}

api! {
    /// Certificates to use in place of the self-signed ones: names of Secrets with certificate and key.
    pub struct Certificates {
        /// Secret with the certificate of the REST API.
        pub api_certificate_secret_name: Option<String>,
        /// Secret with the certificate of the admin UI.
        pub cm_certificate_secret_name: Option<String>,
        /// Secret with the certificate of the proxy, which databases are reached through.
        pub proxy_certificate_secret_name: Option<String>,
        /// Secret with the certificate of the syncer, which replicates between clusters.
        pub syncer_certificate_secret_name: Option<String>,
        /// Secret with the certificate of the metrics exporter.
        pub metrics_exporter_certificate_secret_name: Option<String>,
        /// Secret with the certificate that the cluster shows to LDAP servers.
        pub ldap_client_certificate_secret_name: Option<String>,
        /// Secret with the certificate for control traffic between nodes.
        pub cp_internode_encryption_certificate_secret_name: Option<String>,
        /// Secret with the certificate for data traffic between nodes.
        pub dp_internode_encryption_certificate_secret_name: Option<String>,
        /// Secret with the certificate of the cluster as a service provider of single sign-on.
        pub sso_service_certificate_secret_name: Option<String>,
        /// Secret with the certificate of the identity provider (it has no private key).
        pub sso_issuer_certificate_secret_name: Option<String>,
    }
}

api! {
    /// Login by LDAP.
    pub struct Ldap {
        /// Transport.
        pub protocol: LdapProtocol,
        /// Servers, all of them with the same tree.
        #[schemars(length(min = 1, max = 64))]
        pub servers: Vec<LdapServer>,
        /// Secret with `dn` and `password` to bind with; anonymous if empty.
        pub bind_credentials_secret_name: Option<String>,
        /// Secret with the certificate of the servers' authority under the key `cert`.
        pub ca_certificate_secret_name: Option<String>,
        /// How the name of a user becomes a DN: by template or by query.
        pub authentication_query: AuthenticationQuery,
        /// How the DN of a user becomes its groups: by attribute or by query.
        pub authorization_query: AuthorizationQuery,
        /// Whether LDAP users may use the admin UI and the API.
        pub enabled_for_control_plane: Option<bool>,
        /// Whether LDAP users may use databases.
        pub enabled_for_data_plane: Option<bool>,
        /// How long an answer is kept, in seconds.
        #[serde(rename = "cacheTTLSeconds")]
        #[schemars(range(min = 0))]
        pub cache_ttl_seconds: Option<i32>,
        /// How long to wait for a server, in seconds.
        #[schemars(range(min = 0))]
        pub directory_timeout_seconds: Option<i32>,
        /// Whether the user is taken from the client certificate.
        pub cba: Option<bool>,
        /// What of the certificate names the user.
        pub cba_identity_source: Option<CbaIdentitySource>,
        /// The OID in the subject that names the user, for SubjectOID.
        pub cba_identity_oid: Option<String>,
    }
}

api! {
    /// An LDAP server.
    pub struct LdapServer {
        /// Host name or address.
        pub host: String,
        /// Port; 389 if empty, 636 for LDAPS.
        #[schemars(range(min = 1, max = 65535))]
        pub port: Option<i32>,
    }
}

api! {
    /// From a user's name to its DN: exactly one of the two.
    pub struct AuthenticationQuery {
        /// The DN, with %u for the user's name.
        pub template: Option<String>,
        /// A search for the DN.
        pub query: Option<LdapQuery>,
    }
}

api! {
    /// From a user's DN to its groups: exactly one of the two.
    pub struct AuthorizationQuery {
        /// The attribute of the user that lists the groups.
        pub attribute: Option<String>,
        /// A search for the groups.
        pub query: Option<LdapQuery>,
    }
}

api! {
    /// An LDAP search.
    pub struct LdapQuery {
        /// DN where the search begins.
        pub base: String,
        /// Filter, with %u for the user's name and %D for its DN.
        pub filter: String,
        /// How deep the search goes.
        pub scope: LdapScope,
    }
}

api! {
    /// Single sign-on for the admin UI.
    pub struct Sso {
        /// Whether users may log in so. Needs both SSO certificates, and metadata or an issuer.
        pub enabled: bool,
        /// Whether users other than administrators must log in so.
        #[serde(rename = "enforceSSO")]
        pub enforce_sso: Option<bool>,
        /// SAML settings.
        pub saml: Saml,
    }
}

api! {
    /// SAML settings.
    pub struct Saml {
        /// Secret with the identity provider's metadata under the key `idp_metadata`. Wins over issuer.
        pub idp_metadata_secret_name: Option<String>,
        /// Secret that the operator writes the cluster's own metadata to, under the key `sp_metadata` (XML in base64).
        pub sp_metadata_secret_name: Option<String>,
        /// The identity provider, if its metadata cannot be had.
        pub issuer: Option<SamlIssuer>,
        /// The cluster as a service provider.
        pub service_provider: Option<SamlServiceProvider>,
    }
}

api! {
    /// An identity provider.
    pub struct SamlIssuer {
        /// Its entity id.
        #[serde(rename = "entityID")]
        pub entity_id: String,
        /// Where users are sent to log in.
        #[serde(rename = "loginURL")]
        pub login_url: String,
        /// Where users are sent to log out.
        #[serde(rename = "logoutURL")]
        pub logout_url: Option<String>,
    }
}

api! {
    /// The cluster as a service provider.
    pub struct SamlServiceProvider {
        /// Beginning of the cluster's own URLs: host, optionally with scheme and port.
        pub base_address: Option<String>,
    }
}
