//! A check before something is stored: databases of a namespace have names that begin as its owner says.
//!
//! Databases that are there already may be changed, since a name cannot.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use stepwright_sdk::{
    Admission, Failure, Judged, Manifest, Question, StepManifest, Violation, export_admission, parse_settings,
};

/// The plugin.
pub struct DatabaseNames;

export_admission!(DatabaseNames);

/// By this name a pipeline asks for it.
const CHECK: &str = "database-names";
/// The most that a name may have (reference, 3.3), of which the beginning must leave something.
const LONGEST_NAME: usize = 63;

/// What an admin says: how names begin, by namespace.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    prefixes: BTreeMap<String, String>,
}

/// The `request` member of an AdmissionReview, as far as it counts.
#[derive(Debug, Deserialize)]
struct Request {
    operation: String,
    namespace: String,
    name: String,
    object: Option<Value>,
}

impl Admission for DatabaseNames {
    fn manifest() -> Manifest {
        Manifest::new("database-names", env!("CARGO_PKG_VERSION"))
            .description("Databases of a namespace have names that begin as its owner says")
            .check(StepManifest::new(CHECK))
    }

    fn validate_settings(settings: &str) -> Vec<Violation> {
        let settings: Settings = match parse_settings(settings) {
            Ok(settings) => settings,
            Err(error) => return vec![Violation::new("settings", error.to_string())],
        };
        if settings.prefixes.is_empty() {
            let text = r#"name no namespace: give a beginning for one at least, as in {"prefixes": {"team-a": "a-"}}"#;
            return vec![Violation::new("settings.prefixes", text)];
        }
        let allowed = |prefix: &str| {
            let mut letters = prefix.bytes();
            letters.next().is_some_and(|first| first.is_ascii_lowercase())
                && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && prefix.len() < LONGEST_NAME
        };
        let wrong = settings.prefixes.iter().filter(|(_, prefix)| !allowed(prefix));
        wrong
            .map(|(namespace, prefix)| {
                let text = format!(
                    "`{prefix}` begins no name of a database: lower-case letters, digits and `-`, a letter first, fewer than {LONGEST_NAME}"
                );
                Violation::new(format!("settings.prefixes[{namespace}]"), text)
            })
            .collect()
    }

    fn review(question: &Question) -> Result<Judged, Failure> {
        let settings: Settings = parse_settings(&question.settings)
            .map_err(|error| Failure::transient(format!("settings cannot be read: {error}")))?;
        let Request { operation, namespace, name, object } = question.request()?;
        let mut judged = Judged::default();
        let Some(prefix) = settings.prefixes.get(&namespace).filter(|_| operation == "CREATE" && object.is_some())
        else {
            return Ok(judged);
        };
        if !name.starts_with(prefix.as_str()) || name.len() == prefix.len() {
            let text = format!(
                "must begin with `{prefix}` in namespace `{namespace}`, such as `{prefix}{name}`; it is `{name}`"
            );
            judged.violations.push(Violation::new("metadata.name", text));
        }
        Ok(judged)
    }
}
