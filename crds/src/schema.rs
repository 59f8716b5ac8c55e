//! From what schemars derives to a structural schema as Kubernetes wants it.
//!
//! Only shapes change here: null disappears (an optional field is absent), lists of constants become `enum`, texts lose
//! their line breaks. Nothing here knows a field; edits that name one belong to the kinds and use [`at`].

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Why a schema could not be made. Each of them is a mistake in this crate, found by its tests.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A rule or an edit names a field that is not there.
    #[error("no field `{path}` in the schema")]
    NoSuchField {
        /// The dotted path.
        path: String,
    },
    /// The schema is not one that the API of CustomResourceDefinitions can hold.
    #[error("not a schema of a CustomResourceDefinition")]
    NotStructural(#[from] serde_json::Error),
    /// A definition lacks what its derive should have given it.
    #[error("the definition of {kind} has no version to put a schema in")]
    NoVersion {
        /// The kind.
        kind: String,
    },
}

impl SchemaError {
    /// One stable word for the kind of error.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchField { .. } => "NoSuchField",
            Self::NotStructural(_) => "NotStructural",
            Self::NoVersion { .. } => "NoVersion",
        }
    }
}

/// The structural schema of a whole custom resource.
pub fn root<Spec: JsonSchema, Status: JsonSchema>(description: &str, spec: &str, status: &str) -> Value {
    let mut spec_schema = of::<Spec>();
    let mut status_schema = of::<Status>();
    describe(&mut spec_schema, spec);
    describe(&mut status_schema, status);
    json!({
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": { "type": "string", "description": "Group and version of this representation." },
            "kind": { "type": "string", "description": "What this object is." },
            "metadata": { "type": "object" },
            "spec": spec_schema,
            "status": status_schema,
        },
    })
}

fn of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

fn describe(schema: &mut Value, text: &str) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), text.into());
    }
}

/// The subschema at a dotted path from the root: `spec.ldap.servers[].host`, `status.shardStatuses{}`. Empty is the root.
pub fn at<'a>(root: &'a mut Value, path: &str) -> Result<&'a mut Value, SchemaError> {
    let missing = || SchemaError::NoSuchField { path: path.to_owned() };
    let mut here = root;
    for segment in path.split('.').filter(|segment| !segment.is_empty()) {
        let name = segment.trim_end_matches(['[', ']', '{', '}']);
        here = here.get_mut("properties").and_then(|fields| fields.get_mut(name)).ok_or_else(missing)?;
        let mut inner = segment.get(name.len()..).unwrap_or_default();
        while !inner.is_empty() {
            let (key, rest) = match inner.strip_prefix("[]") {
                Some(rest) => ("items", rest),
                None => ("additionalProperties", inner.strip_prefix("{}").ok_or_else(missing)?),
            };
            here = here.get_mut(key).ok_or_else(missing)?;
            inner = rest;
        }
    }
    Ok(here)
}

/// Takes every text out of a schema.
pub fn strip_descriptions(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("description");
        each_child(object, strip_descriptions);
    }
}

fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    unwrap_nullable(object);
    collect_words(object);
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    for key in ["title", "$schema", "$defs"] {
        object.remove(key);
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n");
    }
    each_child(object, tidy);
}

/// `anyOf: [T, null]` is T: an optional field is absent, not null.
fn unwrap_nullable(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("anyOf") else { return };
    let is_null = |choice: &Value| choice.get("type").is_some_and(|name| name == "null");
    if !choices.iter().any(is_null) {
        return;
    }
    let inner = choices.iter().find(|choice| !is_null(choice)).and_then(Value::as_object).cloned();
    object.remove("anyOf");
    for (key, value) in inner.into_iter().flatten() {
        object.entry(key).or_insert(value); // What the field says of itself comes before what its type says.
    }
}

/// Words with texts come as `oneOf` constants. Kubernetes wants one `enum`; the texts move to the field's own.
fn collect_words(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("oneOf") else { return };
    let mut words = Vec::new();
    let mut texts = Vec::new();
    for choice in choices {
        match (choice.get("const"), choice.get("enum").and_then(Value::as_array)) {
            (Some(word), _) => {
                words.push(word.clone());
                if let (Some(word), Some(text)) = (word.as_str(), choice.get("description").and_then(Value::as_str)) {
                    texts.push(format!("{word}: {}", text.replace('\n', " ")));
                }
            }
            (None, Some(several)) => words.extend(several.iter().cloned()),
            (None, None) => return,
        }
    }
    object.remove("oneOf");
    object.insert("type".into(), "string".into());
    object.insert("enum".into(), Value::Array(words));
    if !texts.is_empty() {
        let own = object.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        object.insert("description".into(), format!("{own}\n\n{}", texts.join("\n\n")).into());
    }
}

fn each_child(object: &mut Map<String, Value>, visit: fn(&mut Value)) {
    if let Some(Value::Object(fields)) = object.get_mut("properties") {
        fields.values_mut().for_each(visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = object.get_mut(key) {
            visit(child);
        }
    }
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macros under test declare public items")]
mod tests {
    use super::*;

    words! {
        /// Of the type.
        pub enum Colour {
            /// Like grass.
            Green = "green",
            Red = "red",
        }
    }
    api! {
        pub struct Sample {
            /// Of the
            /// field.
            pub colour: Option<Colour>,
            /// A count.
            pub count: Option<i32>,
        }
    }

    #[test]
    fn optional_fields_are_not_nullable_and_words_become_an_enum() {
        let schema = of::<Sample>();
        assert_eq!(
            schema.pointer("/properties/colour"),
            Some(&json!({
                "type": "string",
                "enum": ["red", "green"],
                "description": "Of the field.\ngreen: Like grass.",
            }))
        );
        assert_eq!(
            schema.pointer("/properties/count"),
            Some(&json!({ "type": "integer", "format": "int32", "description": "A count." }))
        );
        assert_eq!(schema.get("required"), None);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let mut schema = of::<Sample>();
        assert!(at(&mut schema, "colour").is_ok());
        assert_eq!(at(&mut schema, "colour[].x").unwrap_err().to_string(), "no field `colour[].x` in the schema");
    }
}
