//! The ConfigMaps: what each pod is asked to do, and the script that says whether a node is healthy.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use stepwright_sdk::Plan;

use super::{Metadata, metadata};
use crate::Course;
use crate::board;
use crate::formation::{NodeState, View};
use crate::license;
use crate::notices;
use crate::recovery::{DONE, REJOINING, Recovery};
use crate::seen::Seen;
use crate::state;

/// Key of the script in the health-check ConfigMap, and its file name in the pod.
pub(super) const READINESS: &str = "readiness.sh";

/// A node that was never part of a cluster has no id file; `rladmin` fails then, but also without quorum.
const READINESS_SCRIPT: &str = r#"#!/bin/bash
# Ready is a node that its cluster calls OK.
if ! nodes="$(rladmin status nodes 2>&1)"; then
  if [ -e /etc/opt/redislabs/node.id ]; then
    echo "rladmin status nodes failed: $nodes"
  else
    echo "node id file does not exist - pod is not yet bootstrapped"
  fi
  exit 1
fi
this="$(grep '^\*node:' <<<"$nodes")"
if [ -z "$this" ]; then
  echo "node id file does not exist - pod is not yet bootstrapped"
  exit 1
fi
if ! grep -q 'OK[[:space:]]*$' <<<"$this"; then
  echo "node is not OK: $this"
  exit 1
fi
"#;

#[derive(Serialize)]
struct ConfigMap<'a> {
    metadata: Metadata<'a>,
    data: BTreeMap<&'a str, String>,
}

pub(super) fn bulletin_board(seen: &Seen<'_>) -> String {
    format!("{}-bulletin-board", seen.name())
}

pub(super) fn health_check(seen: &Seen<'_>) -> String {
    format!("{}-health-check", seen.name())
}

/// One line for each pod, for people: the operator itself asks the nodes.
fn tasks(view: &View) -> String {
    let formed = view.formed();
    let mut text = String::new();
    for (ordinal, node) in view.nodes.iter().enumerate() {
        let task = match node.state {
            NodeState::Member => "serve",
            _ if formed || ordinal > 0 => "join",
            _ => "create",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {task}", node.pod);
    }
    text
}

pub(super) fn desire(plan: Plan, seen: &Seen<'_>, view: &View, course: &Course) -> Plan {
    let mut data = BTreeMap::from([("tasks", tasks(view))]);
    data.extend(board::newest(seen, view).map(|pods| (board::NEWEST, pods)));
    data.extend(course.drain.note.clone().map(|note| (board::DRAINED, note)));
    data.extend(notices::notes(seen));
    data.extend(license::note(seen).map(|note| (board::LICENSE, note)));
    data.extend(board::failure(seen, view).map(|failure| (board::FAILED, failure)));
    data.extend(state::lost(seen, view).map(|_| (board::QUORUM, "lost".to_owned())));
    data.extend(course.shrink.note.clone().map(|note| (board::REMOVAL, note)));
    if course.recovered {
        data.insert(board::RECOVERY, DONE.to_owned());
    } else if course.recovery == Recovery::Rejoining && seen.cluster.spec.cluster_recovery {
        data.insert(board::RECOVERY, REJOINING.to_owned());
    }
    let board = ConfigMap { metadata: metadata(seen), data };
    let health =
        ConfigMap { metadata: metadata(seen), data: BTreeMap::from([(READINESS, READINESS_SCRIPT.to_owned())]) };
    plan.desire("v1", "ConfigMap", bulletin_board(seen), &board).desire("v1", "ConfigMap", health_check(seen), &health)
}
