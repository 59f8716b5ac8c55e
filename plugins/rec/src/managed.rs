//! Parts of the REST API that the spec takes over once it says something of them (reference, 3.1). What the spec does not
//! name is never sent.
//!
//! All parts are facts, and changed in the first round of a pass. Secrets are compared with the copies of what the cluster took last (`Parts::in_force`), because the server
//! does not show them, and shows certificates in a form that cannot be compared.

mod certificates;
mod ldap;
mod settings;
mod sso;

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use stepwright_sdk::{Call, Fact, Reply, SecretValue, secret_ref};

use crate::seen::Seen;

/// A JSON object of which only some fields are looked into.
pub(crate) type Fields = BTreeMap<String, Box<RawValue>>;

/// The facts of parts that are read only where the spec says something of them: the name, which is the part's too, and the
/// path in the spec.
pub(crate) const FACTS: [(&str, &str); 7] = [
    ("auditing", "spec.auditing.config"),
    ("certificates", "spec.certificates"),
    ("ldap", "spec.ldap"),
    ("metrics", "spec.metricsConfig"),
    ("ocsp", "spec.ocspConfiguration"),
    ("services", "spec.redisEnterpriseServicesConfiguration"),
    ("sso", "spec.sso"),
];

/// Where the present values of a part come from.
pub(crate) enum Has<'a> {
    /// A fact.
    Fact(&'a Fact<Fields>),
    /// What is written in another form than it is read cannot be compared with what is read.
    Unread,
}

/// A value that the plan places and never sees.
#[derive(Clone)]
pub(crate) struct Hidden {
    /// Field of the call's body, and name of the copy after the part's own.
    pub(crate) field: String,
    pub(crate) secret: String,
    pub(crate) key: String,
}

/// What the spec wants of one path.
pub(crate) struct Part<'a> {
    /// Stable: names its calls and the copies of its secrets.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    method: &'static str,
    path: &'static str,
    has: Has<'a>,
    wanted: Map<String, Value>,
    hidden: Vec<Hidden>,
}

/// All parts of a spec.
pub(crate) struct Parts<'a> {
    ready: Vec<Part<'a>>,
    /// Parts that wait for something, with what that is.
    pub(crate) waiting: Vec<(&'static str, String)>,
    /// Why a part is not known, if one is not: the first.
    pub(crate) unknown: Option<String>,
    /// LDAP was configured by the spec before, and is no longer.
    drop_ldap: bool,
}

impl<'a> Part<'a> {
    /// A part that is a fact of the same name.
    fn of_fact(name: &'static str, what: &'static str, path: &'static str, seen: &'a Seen<'_>) -> Self {
        let has = seen.parts.get(name).map_or(Has::Unread, Has::Fact);
        Self::put(name, what, path, has)
    }

    fn put(name: &'static str, what: &'static str, path: &'static str, has: Has<'a>) -> Self {
        Self { name, what, method: "PUT", path, has, wanted: Map::new(), hidden: Vec::new() }
    }

    fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.wanted.insert(field.to_owned(), value.into());
    }

    fn set_if<T: Into<Value>>(&mut self, field: &str, value: Option<T>) {
        if let Some(value) = value {
            self.set(field, value);
        }
    }

    fn says_something(&self) -> bool {
        !self.wanted.is_empty() || !self.hidden.is_empty()
    }

    fn copy_name(&self, hidden: &Hidden) -> String {
        format!("{}.{}", self.name, hidden.field)
    }

    /// A secret that the cluster has not taken as it is now.
    fn is_new(&self, seen: &Seen<'_>, hidden: &Hidden) -> bool {
        let source = seen.secret(&hidden.secret).and_then(|secret| secret.data.get(&hidden.key));
        let copy = seen.secret(&seen.in_force()).and_then(|secret| secret.data.get(&self.copy_name(hidden)));
        source.is_none() || source != copy
    }

    fn differs(&self, seen: &Seen<'_>, has: &Fields) -> bool {
        let shown = |(field, wanted): (&String, &Value)| {
            let value = has.get(field).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
            !value.is_some_and(|value| covers(wanted, &value))
        };
        let drifted = self.name == certificates::NAME
            && self.hidden.iter().any(|hidden| certificates::drifted(seen, hidden, has));
        self.wanted.iter().any(shown) || drifted || self.hidden.iter().any(|hidden| self.is_new(seen, hidden))
    }

    fn change(&self, seen: &Seen<'_>, has: Option<&Fields>) -> Call {
        let call = Call::new(format!("change {}", self.name), self.method, self.path);
        if self.name == certificates::NAME {
            return call.body(&certificates::body(self, seen, has));
        }
        let mut body = self.wanted.clone();
        for hidden in &self.hidden {
            // Cannot fail: it is a map of texts.
            let reference = serde_json::to_value(secret_ref(&hidden.secret, &hidden.key)).unwrap_or_default();
            body.insert(hidden.field.clone(), reference);
        }
        call.body(&body)
    }
}

/// Every field of `wanted` stands in `has` with that value; more may.
fn covers(wanted: &Value, has: &Value) -> bool {
    match (wanted, has) {
        (Value::Object(wanted), Value::Object(has)) => {
            wanted.iter().all(|(field, value)| has.get(field).is_some_and(|has| covers(value, has)))
        }
        _ => wanted == has,
    }
}

impl<'a> Parts<'a> {
    pub(crate) fn of(seen: &'a Seen<'_>) -> Self {
        let mut parts = Self { ready: Vec::new(), waiting: Vec::new(), unknown: None, drop_ldap: false };
        for part in [settings::cluster(seen), settings::policy(seen)] {
            parts.add(part);
        }
        for part in [
            certificates::wanted(seen),
            ldap::wanted(seen),
            sso::metadata(seen),
            sso::wanted(seen),
            settings::ocsp(seen),
            settings::services(seen),
            settings::auditing(seen),
            settings::metrics(seen),
        ]
        .into_iter()
        .flatten()
        {
            parts.add(part);
        }
        parts.unknown = parts.ready.iter().find_map(|part| match part.has {
            Has::Fact(has) => has.unknown().map(|why| format!("the {} cannot be read: {why}", part.what)),
            Has::Unread => None,
        });
        parts.drop_ldap = seen.cluster.spec.ldap.is_none() && seen.cluster.status.managed_apis.ldap;
        parts
    }

    fn add(&mut self, part: Result<Part<'a>, (&'static str, String)>) {
        match part {
            Ok(part) if part.says_something() => self.ready.push(part),
            Ok(_) => {}
            Err(why) => self.waiting.push(why),
        }
    }

    /// The calls of this round. The cluster answers, and its credentials are known.
    pub(crate) fn calls(&self, seen: &Seen<'_>) -> Vec<Call> {
        let mut calls = Vec::new();
        let first = seen.observed.round == 0;
        for part in self.ready.iter().filter(|_| first) {
            match part.has {
                Has::Fact(has) => {
                    let has = has.known();
                    calls.extend(has.filter(|has| part.differs(seen, has)).map(|has| part.change(seen, Some(has))));
                }
                Has::Unread => {
                    if part.hidden.iter().any(|hidden| part.is_new(seen, hidden)) {
                        calls.push(part.change(seen, None));
                    }
                }
            }
        }
        if first && self.drop_ldap {
            calls.push(Call::delete("change ldap", "/v1/cluster/ldap"));
        }
        calls
    }

    /// Copies of the secrets that the cluster took, to compare with: those of the round before as they are now, the
    /// others as they were.
    pub(crate) fn in_force(&self, seen: &Seen<'_>) -> BTreeMap<String, SecretValue> {
        let name = seen.in_force();
        let empty = BTreeMap::new();
        let copies = seen.secret(&name).map_or(&empty, |secret| &secret.data);
        let configured = |copy: &str| {
            let part = copy.split_once('.').map_or(copy, |(part, _)| part);
            self.ready.iter().any(|ready| ready.name == part) || self.waiting.iter().any(|(waits, _)| *waits == part)
        };
        let mut kept: BTreeMap<String, SecretValue> =
            copies.keys().filter(|copy| configured(copy)).map(|copy| (copy.clone(), secret_ref(&name, copy))).collect();
        for part in self.ready.iter().filter(|part| taken(seen, part.name)) {
            for hidden in &part.hidden {
                kept.insert(part.copy_name(hidden), secret_ref(&hidden.secret, &hidden.key));
            }
        }
        kept
    }

    /// The spec says something of LDAP that the cluster has, or had and not lost yet.
    pub(crate) fn owns_ldap(&self, seen: &Seen<'_>) -> bool {
        let gone = self.drop_ldap && taken(seen, ldap::NAME);
        (seen.cluster.status.managed_apis.ldap && !gone)
            || (seen.cluster.spec.ldap.is_some() && taken(seen, ldap::NAME))
    }

    /// Certificates of proxy or syncer that the cluster took in the round before.
    pub(crate) fn endpoints_changed(&self, seen: &Seen<'_>) -> bool {
        taken(seen, certificates::NAME)
            && self.ready.iter().filter(|part| part.name == certificates::NAME).any(|part| {
                let endpoint =
                    |hidden: &&Hidden| hidden.field.starts_with("proxy.") || hidden.field.starts_with("syncer.");
                part.hidden.iter().filter(endpoint).any(|hidden| part.is_new(seen, hidden))
            })
    }

    /// The name for people of a part.
    pub(crate) fn what(&self, name: &str) -> &'static str {
        self.ready.iter().find(|part| part.name == name).map_or("the settings", |part| part.what)
    }
}

fn reply<'a>(seen: &'a Seen<'_>, name: &str) -> Option<&'a Reply> {
    seen.observed.reply(&format!("change {name}"))
}

fn taken(seen: &Seen<'_>, name: &str) -> bool {
    reply(seen, name).is_some_and(Reply::is_success)
}

/// A Secret with this key is there, or what is waited for.
fn need(seen: &Seen<'_>, field: &str, secret: &str, keys: &[&str]) -> Result<String, String> {
    let found = seen.secret(secret).ok_or_else(|| format!("the Secret `{secret}` of {field} does not exist"))?;
    let key = keys.iter().find(|key| found.data.contains_key(**key));
    key.map(|key| (*key).to_owned())
        .ok_or_else(|| format!("the Secret `{secret}` of {field} has no key `{}`", keys.join("` or `")))
}

/// An object without the fields that are not given.
fn object<'v>(fields: impl IntoIterator<Item = (&'v str, Option<&'v str>)>) -> Value {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect::<Map<_, _>>().into()
}
