//! Ids of tasks: chosen here, from what the resource is and how many there were before, so that the same question gives the same
//! answer; and unlike any other's, as the resource's own id is. What the task is for can be read off it.

use serde::Deserialize;
use serde_json::Value;

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Change,
    /// Clusters have other logins, of Secrets with these versions together.
    Logins(i64),
    /// The cluster has other certificates, of this generation.
    Certificates(i64),
    Delete,
}

/// The part of a generation, or of versions, that an id has room for.
const GENERATIONS: i64 = 0x1000;

impl Kind {
    fn digits(self) -> String {
        match self {
            Self::Create => "1000".to_owned(),
            Self::Change => "2000".to_owned(),
            Self::Logins(versions) => format!("3{:03x}", versions.rem_euclid(GENERATIONS)),
            Self::Certificates(generation) => format!("4{:03x}", generation.rem_euclid(GENERATIONS)),
            Self::Delete => "5000".to_owned(),
        }
    }

    /// Whether this id is of such a task.
    pub(crate) fn is(self, id: &str) -> bool {
        id.rsplit('-').next().is_some_and(|tail| tail.starts_with(&self.digits()))
    }
}

/// An id that no task had: the resource's uid with its last group for the kind, and a number.
pub(crate) fn next(uid: &str, last: Option<&str>, kind: Kind) -> String {
    let prefix = uid.rsplit_once('-').map(|(prefix, _)| prefix).filter(|prefix| prefix.len() == 23);
    let prefix = prefix.unwrap_or("00000000-0000-4000-8000");
    let number = last
        .and_then(|last| last.strip_prefix(prefix)?.strip_prefix('-')?.get(4..))
        .and_then(|number| u32::from_str_radix(number, 16).ok())
        .unwrap_or_default();
    format!("{prefix}-{}{:08x}", kind.digits(), number.wrapping_add(1))
}

/// `GET /v1/crdb_tasks/{id}` (REST reference, 11.3).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Task {
    pub(crate) status: String,
    progress: Value,
    errors: Vec<Trouble>,
    pub(crate) ended: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trouble {
    cluster_name: Option<String>,
    description: Option<String>,
    error_code: Option<String>,
}

impl Task {
    pub(crate) fn is_over(&self) -> bool {
        self.has_failed() || self.status == "finished"
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.status == "failed"
    }

    /// How far it is on each cluster.
    pub(crate) fn progress(&self) -> String {
        let one = |cluster: &Value| {
            let name = cluster.get("name")?.as_str()?.to_owned();
            // Named by the cluster; its domain is the same for all.
            let short = name.split(".svc").next().unwrap_or(&name).to_owned();
            Some(format!("{short} {}%", cluster.get("progress")?))
        };
        let all: Vec<String> =
            self.progress.get("clusters").and_then(Value::as_array).into_iter().flatten().filter_map(one).collect();
        if all.is_empty() { self.status.clone() } else { all.join(", ") }
    }

    /// What went wrong, in the clusters' words.
    pub(crate) fn words(&self) -> String {
        let one = |trouble: &Trouble| {
            let words = trouble.description.as_deref().or(trouble.error_code.as_deref()).unwrap_or("no reason given");
            match trouble.cluster_name.as_deref().filter(|name| !name.is_empty()) {
                Some(cluster) => format!("{cluster}: {words}"),
                None => words.to_owned(),
            }
        };
        let all: Vec<String> = self.errors.iter().map(one).collect();
        if all.is_empty() { "no reason given".to_owned() } else { all.join("; ").chars().take(600).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_and_say_what_they_are_for() {
        let uid = "0b4b4d3c-9f53-4a1c-8d20-5a6f5d2f7e11";
        let first = next(uid, None, Kind::Create);
        assert_eq!(first, "0b4b4d3c-9f53-4a1c-8d20-100000000001");
        let second = next(uid, Some(&first), Kind::Certificates(0x1002));
        assert_eq!(second, "0b4b4d3c-9f53-4a1c-8d20-400200000002");
        assert!(Kind::Certificates(2).is(&second) && !Kind::Certificates(3).is(&second) && Kind::Create.is(&first));
        // A resource that was made again is another one.
        assert_eq!(next("x", Some(&second), Kind::Delete), "00000000-0000-4000-8000-500000000001");
    }
}
