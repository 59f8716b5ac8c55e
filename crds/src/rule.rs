//! Rules in CEL that the API server checks before anything is stored.
//!
//! A rule stands here when it can be decided from the object alone (and the object before it). Whatever needs the
//! cluster, the license or the managed system is for the operator, which checks these rules as well: an object may be
//! older than its rule.

use serde_json::{Value, json};

use crate::schema::{SchemaError, at};

/// One rule, where it is checked, and what is said when it is broken: the field, the rule, the remedy.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Dotted path of the value that is `self` in the rule; empty for the whole object.
    pub path: &'static str,
    /// The CEL expression that must hold.
    pub holds: &'static str,
    /// The sentence for the user.
    pub message: &'static str,
    /// A CEL expression that makes the sentence, where it has to quote the value. `message` is kept as the fallback.
    pub message_expression: Option<&'static str>,
    /// The field below `path` that the sentence is about.
    pub field: Option<&'static str>,
    /// Whether `oldSelf` is an optional: the rule is checked on creation too, and can see that nothing changed.
    pub optional_old: bool,
}

impl Rule {
    /// A rule on the value at a path.
    pub const fn new(path: &'static str, holds: &'static str, message: &'static str) -> Self {
        Self { path, holds, message, message_expression: None, field: None, optional_old: false }
    }

    /// Names the field below the path that the user has to change, such as `.nodes`.
    pub const fn about(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Lets a CEL expression make the sentence.
    pub const fn saying(mut self, message_expression: &'static str) -> Self {
        self.message_expression = Some(message_expression);
        self
    }

    /// Makes `oldSelf` an optional. Rules on the whole object need that to let be what is older than they are: the API
    /// server forgives only what an update leaves as it is, and the whole is never left as it is. Without it a
    /// finalizer of such an object could not be taken away.
    pub const fn seeing_old(mut self) -> Self {
        self.optional_old = true;
        self
    }

    /// Puts the rule into a schema, with its path below `prefix`.
    pub fn put(&self, schema: &mut Value, prefix: &str) -> Result<(), SchemaError> {
        let path = match (prefix, self.path) {
            (prefix, "") => prefix.to_owned(),
            ("", path) => path.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        let missing = || SchemaError::NoSuchField { path: path.clone() };
        let place = at(schema, &path)?.as_object_mut().ok_or_else(missing)?;
        let mut rule = json!({ "rule": self.holds, "message": self.message });
        if let Some(fields) = rule.as_object_mut() {
            if let Some(expression) = self.message_expression {
                fields.insert("messageExpression".into(), expression.into());
            }
            if let Some(field) = self.field {
                fields.insert("fieldPath".into(), field.into());
            }
            if self.optional_old {
                fields.insert("optionalOldSelf".into(), true.into());
            }
        }
        let rules = place.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        rules.as_array_mut().ok_or_else(missing)?.push(rule);
        Ok(())
    }
}
