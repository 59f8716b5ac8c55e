//! Settings of a database that hold values of Secrets, or lists that are compared in their own way.

use serde::Serialize;
use stepwright_sdk::SecretValue;

use crate::backup::{LOCATION, Location};
use crate::hidden::Hidden;
use crate::replica::{self, SOURCES, Source};
use crate::seen::Seen;
use crate::settings::{Bdb, Module};
use crate::spec::said;
use crate::status::{CERTIFICATES, REPLICA_SOURCES};

pub(crate) const CLIENT_CERTS: &str = "authentication_ssl_client_certs";
const SASL_NAME: &str = "authentication_sasl_uname";
const SASL_PASSWORD: &str = "authentication_sasl_pass";
const MODULES: &str = "module_list";

/// A part of the body of a creation or a change.
#[derive(Default, Serialize)]
pub(crate) struct Given {
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_location: Option<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica_sources: Option<Vec<Source>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_ssl_client_certs: Option<Vec<ClientCert>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_sasl_uname: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_sasl_pass: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_list: Option<Vec<Module>>,
    #[serde(skip)]
    sasl: Vec<Hidden>,
}

#[derive(Serialize)]
struct ClientCert {
    client_cert: SecretValue,
    #[serde(skip)]
    hidden: Hidden,
}

impl Given {
    /// All that the spec says. A place for backups whose Secret is not ready is left out.
    pub(crate) fn of(seen: &Seen<'_>) -> Self {
        let spec = &seen.database.spec;
        let certs = spec.client_authentication_certificates.iter().map(|secret| {
            let hidden = Hidden { of: CLIENT_CERTS, secret: secret.clone(), key: "cert" };
            ClientCert { client_cert: hidden.value(), hidden }
        });
        let modules = spec.modules_list.iter().map(|module| Module {
            module_name: module.name.clone(),
            semantic_version: said(module.version.as_ref()).map(str::to_owned),
            module_args: module.config.clone().unwrap_or_default(),
        });
        let name = sasl(seen, "username", SASL_NAME);
        let password = sasl(seen, "password", SASL_PASSWORD);
        Self {
            backup_location: Location::of(spec).filter(|place| place.missing(seen).is_none()),
            replica_sources: some(Source::all(seen).unwrap_or_default()),
            authentication_ssl_client_certs: some(certs.collect()),
            authentication_sasl_uname: name.as_ref().map(Hidden::value),
            authentication_sasl_pass: password.as_ref().map(Hidden::value),
            module_list: some(modules.collect()),
            sasl: name.into_iter().chain(password).collect(),
        }
    }

    /// The parts that the database does not have so.
    pub(crate) fn missing_in(self, seen: &Seen<'_>, bdb: &Bdb) -> Self {
        let certs = bdb.authentication_ssl_client_certs.as_ref().map_or(0, Vec::len);
        let loaded = |name: &str| bdb.module_list.iter().flatten().any(|module| module.module_name == name);
        let new = |of: &str| self.sasl.iter().filter(|hidden| hidden.of == of).any(|hidden| hidden.is_new(seen));
        let (new_name, new_password) = (new(SASL_NAME), new(SASL_PASSWORD));
        let no_sources = bdb.replica_sources.as_ref().is_none_or(Vec::is_empty);
        Self {
            backup_location: self.backup_location.filter(|place| place.differs(seen, bdb)),
            replica_sources: match self.replica_sources {
                Some(wanted) => Some(wanted).filter(|wanted| Source::differ(wanted, seen, bdb)),
                None if !seen.database.spec.replica_sources.is_empty() => None,
                None => (!no_sources && seen.managed(REPLICA_SOURCES)).then(Vec::new),
            },
            authentication_ssl_client_certs: match self.authentication_ssl_client_certs {
                Some(wanted) => Some(wanted)
                    .filter(|wanted| wanted.len() != certs || wanted.iter().any(|cert| cert.hidden.is_new(seen))),
                None => (certs > 0 && seen.managed(CERTIFICATES)).then(Vec::new),
            },
            authentication_sasl_uname: self.authentication_sasl_uname.filter(|_| new_name),
            authentication_sasl_pass: self.authentication_sasl_pass.filter(|_| new_password),
            module_list: self.module_list.filter(|wanted| wanted.iter().any(|it| !loaded(&it.module_name))).map(
                |wanted| {
                    // Modules that are there beside those of the spec came with the version of Redis, or by somebody's hand.
                    let is_there = |it: &Module| loaded(&it.module_name);
                    let there = bdb.module_list.iter().flatten().map(|module| Module {
                        module_name: module.module_name.clone(),
                        semantic_version: module.semantic_version.clone(),
                        module_args: module.module_args.clone().unwrap_or_default(),
                    });
                    there.chain(wanted.into_iter().filter(|it| !is_there(it))).collect()
                },
            ),
            sasl: self.sasl,
        }
    }

    /// Without anything that comes from Secrets.
    pub(crate) fn only_modules(self) -> Self {
        Self { module_list: self.module_list, ..Self::default() }
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        [
            (self.backup_location.is_some(), LOCATION),
            (self.replica_sources.is_some(), SOURCES),
            (self.authentication_ssl_client_certs.is_some(), CLIENT_CERTS),
            (self.authentication_sasl_uname.is_some(), SASL_NAME),
            (self.authentication_sasl_pass.is_some(), SASL_PASSWORD),
            (self.module_list.is_some(), MODULES),
        ]
        .into_iter()
        .filter(|(there, _)| *there)
        .map(|(_, name)| name)
        .collect()
    }

    /// The values of Secrets among it.
    pub(crate) fn hidden(&self) -> Vec<Hidden> {
        let places = self.backup_location.iter().flat_map(|place| &place.hidden);
        let sources = self.replica_sources.iter().flatten().flat_map(|source| &source.hidden);
        let certs = self.authentication_ssl_client_certs.iter().flatten().map(|cert| &cert.hidden);
        places.chain(sources).chain(certs).chain(&self.sasl).cloned().collect()
    }

    pub(crate) fn has_place(&self) -> bool {
        self.backup_location.is_some()
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn sasl(seen: &Seen<'_>, key: &'static str, of: &'static str) -> Option<Hidden> {
    let spec = &seen.database.spec;
    let secret = said(spec.memcached_sasl_secret_name.as_ref()).filter(|_| spec.memcached())?;
    Some(Hidden { of, secret: secret.to_owned(), key })
}

/// Why the database cannot be made: without them anybody could log in.
pub(crate) fn sasl_missing(seen: &Seen<'_>) -> Option<String> {
    [sasl(seen, "username", SASL_NAME), sasl(seen, "password", SASL_PASSWORD)]
        .into_iter()
        .flatten()
        .find_map(|hidden| hidden.missing(seen, "spec.memcachedSaslSecretName"))
}

/// Why the database cannot be made, or left with those that it has: with fewer certificates others could log in, or nobody.
pub(crate) fn certificate_missing(seen: &Seen<'_>) -> Option<String> {
    let all = seen.database.spec.client_authentication_certificates.iter();
    let mut hidden = all.map(|secret| Hidden { of: CLIENT_CERTS, secret: secret.clone(), key: "cert" });
    hidden.find_map(|hidden| hidden.lacks(seen, "spec.clientAuthenticationCertificates"))
}

/// Why a part of the spec has to wait; the rest is done all the same.
pub(crate) fn held_back(seen: &Seen<'_>) -> Option<String> {
    let place = Location::of(&seen.database.spec).and_then(|place| place.missing(seen));
    place.or_else(|| replica::missing(seen))
}
