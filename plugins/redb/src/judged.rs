//! The rules of the step for a resource that is not stored yet: what breaks one, and what will only be seen later.

use stepwright_sdk::{Failure, Judged, Observation};

use crate::rules;
use crate::seen::Seen;

/// Judges the primary as the step would, as far as that is known by now.
///
/// # Errors
/// What the step could not read either.
pub fn judge(observed: &Observation) -> Result<Judged, Failure> {
    let seen = Seen::read(observed)?;
    let mut judged = Judged { violations: rules::of_itself(&seen), warnings: Vec::new() };
    let cluster = match rules::cluster(&seen) {
        Ok(Some(cluster)) => cluster,
        // Both may be on their way in one file, in any order.
        _ if seen.clusters.is_empty() => {
            let text = format!(
                "namespace `{}` has no RedisEnterpriseCluster yet: the database is made once there is one",
                seen.cluster_namespace()
            );
            judged.warnings.push(text);
            return Ok(judged);
        }
        Ok(None) => return Ok(judged),
        Err(Failure::Invalid(violations)) => {
            judged.violations.extend(violations);
            return Ok(judged);
        }
        Err(failure) => return Err(failure),
    };
    judged.violations.extend(rules::on_cluster(&seen, cluster));
    let (name, state) = (&cluster.id.name, cluster.status.state.as_str());
    if state != "Running" {
        let state = if state.is_empty() { "not started" } else { state };
        judged.warnings.push(format!("cluster `{name}` is {state}: nothing is changed before it is Running"));
    }
    let Some(bdbs) = seen.bdbs.known() else {
        judged.warnings.push(format!(
            "the databases of cluster `{name}` are not known now, so that names and ports were not compared"
        ));
        return Ok(judged);
    };
    judged.violations.extend(rules::of_cluster(&seen, cluster, bdbs));
    if let Some(license) = seen.license.known() {
        if license.expired == Some(true) {
            judged
                .warnings
                .push("the cluster's license has expired: nothing is changed before there is another".to_owned());
        }
        judged.violations.extend(rules::license(&seen, license, seen.own(bdbs), bdbs));
    }
    Ok(judged)
}

/// The rules that need nothing but the spec.
///
/// # Errors
/// What the step could not read either.
pub fn judge_alone(observed: &Observation) -> Result<Judged, Failure> {
    Ok(Judged { violations: rules::of_itself(&Seen::read(observed)?), warnings: Vec::new() })
}
