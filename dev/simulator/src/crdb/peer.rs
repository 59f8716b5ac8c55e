//! What one cluster asks of another: a path of the simulator's own, `/v1/crdbs/{guid}/_peer`, opened by the credentials of an
//! administrator there.

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::{
    faults::Kind,
    node::Node,
    rest_client::{self, Target},
    settings::dial,
    state::{
        crdb::{Agreed, Instance, Proposal, Trouble},
        digest,
    },
};

/// A cluster that has not answered in this time is not there now.
const LIMIT: Duration = Duration::from_secs(5);

/// Credentials that were refused are not tried again for so long, unless a task needs them: five wrong logins within a quarter of an
/// hour lock an account (REST reference, 1.4).
const FORBEARANCE: Duration = Duration::from_secs(300);

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// How is it? For a cluster at this version; with what is agreed if that is newer.
    Status(u64),
    /// Prepare this.
    Prepare(Box<Proposal>),
    /// It is decided.
    Commit(u64),
    /// It is given up.
    Abort(u64),
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// FQDN of the cluster.
    pub cluster: String,
    /// Its features.
    pub featureset: u64,
    /// Whether it knows the database.
    pub known: bool,
    /// The version agreed upon as it knows it.
    pub version: u64,
    /// The task of a change that is prepared, and its version.
    pub pending: Option<(String, u64)>,
    /// Whether its database is there and knows what was agreed.
    pub settled: bool,
    /// Why its database could not be made.
    pub failed: Option<String>,
    /// Where its proxies are.
    pub endpoints: Vec<(String, u16)>,
    /// Whether they want TLS.
    pub tls: bool,
    /// Certificate (PEM) of its syncers.
    pub certificate: String,
    /// Its entry of the health report.
    pub health: Value,
    /// What is agreed, where that is newer than what the asking cluster has.
    pub agreed: Option<Box<Agreed>>,
}

/// Asks the cluster of an instance, if it has not refused these credentials lately.
pub async fn ask_gently(node: &Node, guid: &str, instance: &Instance, question: &Question) -> Result<Status, Trouble> {
    let lately = node.refused_elsewhere.lock().get(&credentials(instance)).is_some_and(|at| at.elapsed() < FORBEARANCE);
    if lately { Err(wrong_credentials(instance)) } else { ask(node, guid, instance, question).await }
}

fn credentials(instance: &Instance) -> String {
    digest(&[&instance.url, &instance.username, &instance.password])
}

fn wrong_credentials(instance: &Instance) -> Trouble {
    Trouble {
        cluster_name: instance.name.clone(),
        description: format!("cluster {} refuses the credentials of {}", instance.name, instance.username),
        error_code: "invalid_credentials".to_owned(),
    }
}

/// Asks the cluster of an instance.
pub async fn ask(node: &Node, guid: &str, instance: &Instance, question: &Question) -> Result<Status, Trouble> {
    let trouble = |code: &str, text: String| Trouble {
        cluster_name: instance.name.clone(),
        description: text,
        error_code: code.to_owned(),
    };
    if node.faults.stands(&Kind::CrdbPeer) {
        return Err(trouble("cluster_unreachable", format!("failed to reach {}: cut off on demand", instance.url)));
    }
    let unreachable = |why: String| trouble("cluster_unreachable", format!("failed to reach {}: {why}", instance.url));
    let url = Url::parse(&instance.url).map_err(|error| unreachable(error.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let encrypted = url.scheme() != "http";
    let port = url.port().unwrap_or(if encrypted { 443 } else { 80 });
    let (address, to) = node.settings.resolve.lead(&host, port);
    let target =
        if encrypted { Target::encrypted(&dial(&address), to, &host) } else { Target::plain(&dial(&address), to) };
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", instance.username, instance.password)));
    let body = serde_json::to_vec(question).map_err(|error| unreachable(error.to_string()))?;
    let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
    let path = format!("/v1/crdbs/{guid}/_peer");
    let sent = rest_client::send(&target, "POST", &path, &headers, body);
    let answer = tokio::time::timeout(LIMIT, sent).await.map_err(|_| unreachable("no answer in time".to_owned()))?;
    let answer = answer.map_err(|error| unreachable(told(&error)))?;
    if answer.status == 401 {
        node.refused_elsewhere.lock().insert(credentials(instance), Instant::now());
        return Err(wrong_credentials(instance));
    }
    node.refused_elsewhere.lock().remove(&credentials(instance));
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|error| unreachable(format!("not understood: {error}"))),
        status => {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!({}));
            let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
            let code = text("error_code").unwrap_or_else(|| "cluster_unreachable".to_owned());
            let why = text("message").or_else(|| text("description"));
            if status >= 500 && code != "no_quorum" {
                return Err(unreachable(why.unwrap_or_else(|| format!("status {status}"))));
            }
            Err(trouble(&code, why.unwrap_or_else(|| format!("{} answers with status {status}", instance.url))))
        }
    }
}

/// An error and its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text = format!("{text}: {one}");
        cause = one.source();
    }
    text
}
