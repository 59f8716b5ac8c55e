//! The commands that change a cluster's state, and the one place where they are carried out.

use serde_json::Value;

use super::{
    Certificate, ClusterState, Context, License, Object, Refusal, bdbs::BdbCommand, crdb::CrdbCommand,
    migration::MigrationCommand, nodes::NodeCommand, optional::Part, users::UserCommand,
};

/// One change.
#[derive(Debug, Clone)]
pub enum Command {
    /// Of a node.
    Node(NodeCommand),
    /// Of a database.
    Bdb(BdbCommand),
    /// Of an Active-Active database.
    Crdb(CrdbCommand),
    /// Of a shard on its way to another node.
    Migration(MigrationCommand),
    /// Of a user, role or ACL.
    User(UserCommand),
    /// `PUT /v1/cluster`.
    Settings(Object),
    /// `PUT /v1/cluster/policy`.
    Policy(Object),
    /// `PUT /v1/license`.
    License(String),
    /// `PUT /v1/cluster/certificates`.
    Certificates(Vec<(String, Certificate)>),
    /// `DELETE /v1/cluster/certificates/{name}`.
    DropCertificate(String),
    /// An optional part of the configuration changes.
    Part(Part, Object),
    /// It is taken away.
    DropPart(Part),
    /// `POST /v2/modules` and its newer names.
    Module(Object),
    /// `POST /v1/cluster/sso/saml/metadata/idp`.
    IdentityProvider(String),
}

impl ClusterState {
    /// Carries out a command. After a refusal the state may be half changed: work on a copy and drop it.
    pub fn apply(&mut self, command: Command, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            Command::Node(command) => self.apply_node(command, ctx),
            Command::Bdb(command) => self.apply_bdb(command, ctx),
            Command::Crdb(command) => self.apply_crdb(command, ctx),
            Command::Migration(command) => self.apply_migration(command, ctx),
            Command::User(command) => self.apply_user(command, ctx),
            Command::Settings(patch) => {
                known("setting of the cluster", &self.settings, &patch)?;
                self.settings.extend(patch);
                Ok(Value::Object(self.settings.clone()))
            }
            Command::Policy(patch) => {
                known("policy", &self.policy, &patch)?;
                self.policy.extend(patch);
                Ok(Value::Object(self.policy.clone()))
            }
            Command::License(text) => {
                self.license = License::parse(&text, &self.name, ctx.now)?;
                Ok(Value::Null)
            }
            Command::Certificates(certificates) => {
                for (name, certificate) in certificates {
                    if !CERTIFICATES.contains(&name.as_str()) {
                        return Err(Refusal::bad_request(format!("{name} is not a certificate of the cluster")));
                    }
                    self.certificates.insert(name, certificate);
                }
                Ok(Value::Null)
            }
            Command::Module(body) => self.add_module(&body),
            Command::Part(part, patch) => self.change_part(part, patch),
            Command::DropPart(part) => {
                self.parts.remove(&part);
                Ok(Value::Null)
            }
            Command::IdentityProvider(metadata) => self.identity_provider(&metadata),
            Command::DropCertificate(name) => {
                if OPTIONAL_CERTIFICATES.contains(&name.as_str()) {
                    let gone = self.certificates.remove(&name);
                    gone.map(|_| Value::Null).ok_or_else(|| Refusal::not_found("certificate_not_found", name))
                } else {
                    Err(Refusal::new(403, "certificate_required", format!("{name} cannot be deleted")))
                }
            }
        }
    }
}

/// Certificates by name (REST reference, 4.4).
const CERTIFICATES: [&str; 11] = [
    "cm",
    "api",
    "proxy",
    "syncer",
    "metrics_exporter",
    "mtls_trusted_ca",
    "ldap_client",
    "ccs_internode_encryption",
    "data_internode_encryption",
    "sso_service",
    "sso_issuer",
];
const OPTIONAL_CERTIFICATES: [&str; 4] = ["mtls_trusted_ca", "ldap_client", "sso_service", "sso_issuer"];

fn known(what: &str, fields: &Object, patch: &Object) -> Result<(), Refusal> {
    match patch.keys().find(|key| !fields.contains_key(*key)) {
        Some(key) => Err(Refusal::bad_request(format!("{key} is no {what}"))),
        None => Ok(()),
    }
}
