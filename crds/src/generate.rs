//! The YAML files beside this crate, as the types make them.

use std::path::Path;

use crate::definition;
use crate::schema::SchemaError;

const HEADER: &str = "\
# Made from the types in crds/src by `cargo run -p stepwright-crds --bin crdgen`. Changes made here are lost.
";

/// One generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its name, such as `redisenterpriseclusters.yaml`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Why files could not be made or checked.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A schema is wrong.
    #[error("cannot make a schema")]
    Schema(#[from] SchemaError),
    /// A definition cannot be written as YAML.
    #[error("cannot write {name} as YAML")]
    Yaml {
        /// The file.
        name: String,
        /// What went wrong.
        source: serde_yaml_ng::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot access {name}")]
    File {
        /// The file.
        name: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

impl GenerateError {
    /// One stable word for the kind of error.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Schema(error) => error.reason(),
            Self::Yaml { .. } => "NotYaml",
            Self::File { .. } => "FileNotAccessible",
        }
    }
}

/// All files, one for each definition.
pub fn files() -> Result<Vec<GeneratedFile>, GenerateError> {
    let file = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let name = format!("{}.yaml", crd.spec.names.plural);
        match serde_yaml_ng::to_string(&crd) {
            Ok(yaml) => Ok(GeneratedFile { name, text: format!("{HEADER}{yaml}") }),
            Err(source) => Err(GenerateError::Yaml { name, source }),
        }
    };
    definition::all()?.into_iter().map(file).collect()
}

/// Writes all files into a folder.
pub fn write(folder: &Path) -> Result<Vec<GeneratedFile>, GenerateError> {
    let files = files()?;
    for file in &files {
        std::fs::write(folder.join(&file.name), &file.text)
            .map_err(|source| GenerateError::File { name: file.name.clone(), source })?;
    }
    Ok(files)
}

/// What in a folder is not as it would be written: one sentence for each such file.
pub fn differences(folder: &Path) -> Result<Vec<String>, GenerateError> {
    let mut found = Vec::new();
    for GeneratedFile { name, text } in files()? {
        match std::fs::read_to_string(folder.join(&name)) {
            Ok(present) if present == text => {}
            Ok(present) => {
                let line = present.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
                found.push(format!("{name} differs from the types, first in line {line}"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => found.push(format!("{name} is missing")),
            Err(source) => return Err(GenerateError::File { name, source }),
        }
    }
    Ok(found)
}
