//! A field of a JSON document by its path as people write it: `spec.ports[0].port`, `metadata.labels[app.kubernetes.io/name]`.

use serde_json::Value;

/// A path from the root of a document. Empty: the whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(Vec<Segment>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Key(String),
    /// Of a list; in a map it is a key that looks like a number.
    Index(usize),
}

/// A path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is no path of a field: {message}. Write `spec.ports[0].port` or `metadata.labels[example.com/team]`")]
pub struct Malformed {
    path: String,
    message: &'static str,
}

impl FieldPath {
    /// Reads a path. A key with dots stands in brackets; a number in brackets is a place in a list.
    pub fn parse(path: &str) -> Result<Self, Malformed> {
        let fail = |message| Malformed { path: path.to_owned(), message };
        let mut segments = Vec::new();
        let mut rest = path;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (key, after) = inner.split_once(']').ok_or_else(|| fail("a bracket is not closed"))?;
                if key.is_empty() {
                    return Err(fail("there is nothing between its brackets"));
                }
                segments.push(key.parse().map_or_else(|_| Segment::Key(key.to_owned()), Segment::Index));
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                if key.is_empty() {
                    return Err(fail("a name is missing"));
                }
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() {
                    return Err(fail("it ends with a dot"));
                }
                rest = after;
            }
        }
        Ok(Self(segments))
    }

    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The field in this document, if it is there.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |value, segment| match (segment, value) {
            (Segment::Key(key), Value::Object(fields)) => fields.get(key),
            (Segment::Index(index), Value::Array(items)) => items.get(*index),
            (Segment::Index(index), Value::Object(fields)) => fields.get(&index.to_string()),
            _ => None,
        })
    }

    /// What is left of this path below `above`; `None` if it does not lie there.
    pub fn below(&self, above: &Self) -> Option<Self> {
        self.0.strip_prefix(above.0.as_slice()).map(|rest| Self(rest.to_vec()))
    }

    /// The same without a first key of this name.
    pub fn within(&self, key: &str) -> Option<Self> {
        match self.0.split_first() {
            Some((Segment::Key(first), rest)) if first == key => Some(Self(rest.to_vec())),
            _ => None,
        }
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.contains(['.', '[']) => write!(f, "[{key}]")?,
                Segment::Key(key) if number == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_found() {
        let document = json!({"spec": {"ports": [{"port": 1}], "x.y/z": "dots", "7": "seven"}});
        let find = |path: &str| FieldPath::parse(path).unwrap().find(&document).cloned();
        assert_eq!(find("spec.ports[0].port"), Some(json!(1)));
        assert_eq!(find("spec[x.y/z]"), Some(json!("dots")));
        // As differences write it.
        assert_eq!(find("spec.[x.y/z]"), Some(json!("dots")));
        assert_eq!(find("spec.7"), Some(json!("seven")));
        assert_eq!(find("spec[7]"), Some(json!("seven")));
        assert_eq!(find("spec.ports[1]"), None);
        assert_eq!(find("spec.ports.port"), None);
        assert_eq!(find(""), Some(document.clone()));
    }

    #[test]
    fn malformed_ones_are_refused() {
        for path in ["spec.", ".spec", "spec..x", "spec[", "spec[]", "spec[0", "."] {
            assert!(FieldPath::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn written_and_read_again_it_is_the_same() {
        for path in ["spec.replicas", "a[0][1].b", "metadata.labels[x.y/z].q"] {
            let read = FieldPath::parse(path).unwrap();
            assert_eq!(read.to_string(), path);
            assert_eq!(FieldPath::parse(&read.to_string()).unwrap(), read);
        }
    }
}
