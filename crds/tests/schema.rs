//! The generated definitions: complete, explained, small, up to date.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is a test"
)]

use std::path::Path;
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use stepwright_crds::{definition, generate};

fn schema(definition: &CustomResourceDefinition, version: &str) -> Value {
    let version = definition.spec.versions.iter().find(|found| found.name == version).unwrap();
    serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
}

fn all_schemas() -> Vec<(String, Value)> {
    let schemas_of = |definition: CustomResourceDefinition| {
        let names: Vec<_> = definition.spec.versions.iter().map(|version| version.name.clone()).collect();
        let kind = definition.spec.names.kind.clone();
        names.into_iter().map(move |name| (format!("{kind} {name}"), schema(&definition, &name)))
    };
    definition::all().unwrap().into_iter().flat_map(schemas_of).collect()
}

#[test]
fn files_are_what_the_types_make() {
    let differences = generate::differences(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(differences.is_empty(), "{differences:?}; run: cargo run -p stepwright-crds --bin crdgen");
}

#[test]
fn check_names_what_differs_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let crdgen = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_crdgen")).args(arguments).arg(folder.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(crdgen(&[]), (true, String::new()));
    assert_eq!(crdgen(&["--check"]), (true, String::new()));

    let changed = folder.path().join("redisenterprisedatabases.yaml");
    let text = std::fs::read_to_string(&changed).unwrap();
    std::fs::write(&changed, text.replacen("app: redis-enterprise", "app: other", 1)).unwrap();
    std::fs::remove_file(folder.path().join("redisenterpriseremoteclusters.yaml")).unwrap();
    let (success, said) = crdgen(&["--check"]);
    assert!(!success);
    assert_eq!(
        said,
        "redisenterprisedatabases.yaml differs from the types, first in line 6\n\
         redisenterpriseremoteclusters.yaml is missing\n\
         to write them anew: cargo run -p stepwright-crds --bin crdgen\n"
    );
}

#[test]
fn a_plain_apply_can_remember_each_definition() {
    // kubectl keeps what was applied in an annotation of at most 262144 bytes. The cluster holds two versions.
    for definition in definition::all().unwrap() {
        let size = serde_json::to_string(&definition).unwrap().len();
        let limit = if definition.spec.versions.len() == 2 { 90_000 } else { 40_000 };
        assert!(size < limit, "{} takes {size} bytes of {limit}", definition.spec.names.kind);
    }
}

#[test]
fn names_are_those_of_existing_manifests() {
    let known: Vec<_> = definition::all()
        .unwrap()
        .into_iter()
        .map(|crd| {
            let names = crd.spec.names;
            let app = crd.metadata.labels.unwrap()["app"].clone();
            let versions = crd.spec.versions.iter().map(|version| {
                let status_only = version.subresources.as_ref().is_some_and(|sub| sub.scale.is_none());
                json!([version.name, version.served, version.storage, version.deprecated, status_only])
            });
            json!([names.kind, names.plural, names.singular, names.short_names, app, versions.collect::<Vec<_>>()])
        })
        .collect();
    let expected = json!([
        [
            "RedisEnterpriseCluster",
            "redisenterpriseclusters",
            "redisenterprisecluster",
            ["rec"],
            "redis-enterprise",
            [["v1", true, true, null, true], ["v1alpha1", true, false, true, true]]
        ],
        [
            "RedisEnterpriseDatabase",
            "redisenterprisedatabases",
            "redisenterprisedatabase",
            ["redb"],
            "redis-enterprise",
            [["v1alpha1", true, true, null, true]]
        ],
        [
            "RedisEnterpriseActiveActiveDatabase",
            "redisenterpriseactiveactivedatabases",
            "redisenterpriseactiveactivedatabase",
            ["reaadb"],
            "redis-enterprise",
            [["v1alpha1", true, true, null, true]]
        ],
        [
            "RedisEnterpriseRemoteCluster",
            "redisenterpriseremoteclusters",
            "redisenterpriseremotecluster",
            ["rerc"],
            "redis-enterprise",
            [["v1alpha1", true, true, null, true]]
        ],
    ]);
    assert_eq!(Value::Array(known), expected);
}

#[test]
fn columns_point_at_fields() {
    for definition in definition::all().unwrap() {
        for version in &definition.spec.versions {
            let schema = schema(&definition, &version.name);
            for column in version.additional_printer_columns.iter().flatten() {
                let path = column.json_path.trim_start_matches('.').replace("[*]", "[]");
                let path = path.replace("shardStatuses.active", "shardStatuses{}");
                let known = path == "metadata.creationTimestamp" || find(&schema, &path).is_some();
                assert!(known, "column {} of {}: {path}", column.name, definition.spec.names.kind);
            }
        }
    }
}

#[test]
fn every_field_of_the_reference_is_there_with_its_type() {
    let database = include_str!("fields/database-spec.txt");
    let below = |prefix: &str| -> String { database.lines().map(|line| format!("{prefix}.{line}\n")).collect() };
    let mut wrong = Vec::new();
    for (name, schema) in all_schemas() {
        let table = match name.as_str() {
            "RedisEnterpriseCluster v1" | "RedisEnterpriseCluster v1alpha1" => {
                include_str!("fields/rec.txt").to_owned()
            }
            "RedisEnterpriseDatabase v1alpha1" => include_str!("fields/redb.txt").to_owned() + &below("spec"),
            "RedisEnterpriseActiveActiveDatabase v1alpha1" => {
                include_str!("fields/reaadb.txt").to_owned() + &below("spec.globalConfigurations")
            }
            "RedisEnterpriseRemoteCluster v1alpha1" => include_str!("fields/rerc.txt").to_owned(),
            other => panic!("no table for {other}"),
        };
        for line in table.lines() {
            let (paths, wanted) = line.rsplit_once(' ').unwrap();
            for path in expand(paths) {
                match find(&schema, &path) {
                    Some(found) if found == wanted => {}
                    found => wrong.push(format!("{name}: {path} is {found:?}, not {wanted}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_field_is_explained() {
    let mut silent = Vec::new();
    for (name, schema) in all_schemas() {
        if name != "RedisEnterpriseCluster v1alpha1" {
            for part in ["spec", "status"] {
                unexplained(&schema["properties"][part], &format!("{name} {part}"), &mut silent);
            }
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn the_only_default_is_the_one_that_manifests_rely_on() {
    for (name, schema) in all_schemas() {
        let expected = usize::from(name.contains("Database"));
        assert_eq!(count_defaults(&schema), expected, "{name}");
    }
}

fn unexplained(schema: &Value, path: &str, silent: &mut Vec<String>) {
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
            silent.push(path.clone());
        }
        unexplained(field, &path, silent);
    }
    for inner in ["items", "additionalProperties"].into_iter().filter_map(|inner| schema.get(inner)) {
        unexplained(inner, path, silent);
    }
}

fn count_defaults(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("default").is_some_and(|value| !value.is_object());
            usize::from(own) + fields.values().map(count_defaults).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count_defaults).sum(),
        _ => 0,
    }
}

/// The type of the field at a path, in the words of the tables.
fn find(schema: &Value, path: &str) -> Option<String> {
    let mut here = schema;
    let mut required = false;
    for segment in path.split('.') {
        let name = segment.trim_end_matches(['[', ']', '{', '}']);
        required = here.get("required").and_then(Value::as_array).is_some_and(|names| names.contains(&name.into()));
        here = here.get("properties")?.get(name)?;
        for inner in segment[name.len()..].split_inclusive([']', '}']) {
            here = here.get(if inner == "[]" { "items" } else { "additionalProperties" })?;
        }
    }
    let inner = |key: &str| here.pointer(&format!("/additionalProperties/{key}")).and_then(Value::as_str);
    let word = match here.get("type").and_then(Value::as_str) {
        Some("string") => "str",
        Some("integer") => "int",
        Some("boolean") => "bool",
        Some("array") => "list",
        Some("object") if inner("type") == Some("string") => "map",
        Some("object") if inner("type") == Some("integer") => "counts",
        Some("object") => "obj",
        None if here.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) => "qty",
        other => panic!("{path} has type {other:?}"),
    };
    Some(format!("{word}{}", if required { "*" } else { "" }))
}

/// `a.{b,c}.d` is `a.b.d` and `a.c.d`; `{}` stands for itself.
fn expand(paths: &str) -> Vec<String> {
    let Some(open) = paths.match_indices('{').map(|(at, _)| at).find(|at| !paths[*at..].starts_with("{}")) else {
        return vec![paths.to_owned()];
    };
    let close = open + paths[open..].find('}').unwrap();
    let words = paths[open + 1..close].split(',');
    words.flat_map(|word| expand(&format!("{}{word}{}", &paths[..open], &paths[close + 1..]))).collect()
}
