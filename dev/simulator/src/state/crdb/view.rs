//! Active-Active databases as the REST API shows them (REST reference, 11.2).

use serde_json::{Value, json};

use super::{Crdb, Instance};
use crate::state::{ClusterState, Object};

impl Crdb {
    /// The object; without credentials, and with the number of the database for this cluster's instance only.
    pub fn view(&self, state: &ClusterState) -> Value {
        let agreed = &self.agreed;
        let mut config = agreed.config.clone();
        if state.flag("mask_bdb_credentials") {
            mask(&mut config);
        }
        let instances: Vec<Value> =
            agreed.instances.iter().map(|instance| self.instance_view(state, instance)).collect();
        let mut view = json!({
            "guid": agreed.guid, "name": agreed.name, "default_db_config": config, "instances": instances,
            "encryption": false, "causal_consistency": false, "featureset_version": super::featureset(state),
            "protocol_version": 1, "local_databases": [{"bdb_uid": self.bdb.to_string(), "id": self.own}],
            "managed_by": "", "modules": agreed.config.get("module_list").cloned().unwrap_or_else(|| json!([])),
            "volatile_config_fields": ["memory_size"],
        });
        if let Some(view) = view.as_object_mut() {
            view.extend(agreed.more.clone());
        }
        view
    }

    fn instance_view(&self, state: &ClusterState, instance: &Instance) -> Value {
        let mut cluster = json!({"name": instance.name, "url": instance.url});
        if let Some(cluster) = cluster.as_object_mut() {
            let optional = [
                ("replication_endpoint", &instance.replication_endpoint),
                ("replication_tls_sni", &instance.replication_tls_sni),
            ];
            cluster.extend(optional.into_iter().filter_map(|(k, v)| Some((k.to_owned(), json!(v.as_ref()?)))));
        }
        let mut config = instance.db_config.clone();
        if state.flag("mask_bdb_credentials") {
            mask(&mut config);
        }
        let uid = if instance.id == self.own { self.bdb.to_string() } else { String::new() };
        json!({
            "id": instance.id, "cluster": cluster, "db_config": config, "db_uid": uid, "compression": instance.compression,
        })
    }

    /// This cluster's entry of the health report; `links` says of the link to an instance whether it is up.
    pub fn health(&self, state: &ClusterState, links: &[(u32, bool)]) -> Value {
        let instances = |agreed: &super::Agreed| {
            let one = |instance: &Instance| json!({"id": instance.id, "cluster": {"name": instance.name}});
            agreed.instances.iter().map(one).collect::<Vec<_>>()
        };
        let mut configurations = vec![json!({
            "version": self.agreed.version, "status": if self.settled(state) { "commit-completed" } else { "committed" },
            "instances": instances(&self.agreed), "causal_consistency": self.agreed.more.get("causal_consistency") == Some(&json!(true)),
            "encryption": self.agreed.more.get("encryption") == Some(&json!(true)),
        })];
        if self.agreed.version == 0 {
            configurations.clear();
        }
        if let Some(pending) = &self.pending {
            let status = if self.settled(state) { "ready" } else { "posted" };
            let next = pending.next.as_ref().unwrap_or(&self.agreed);
            configurations.push(json!({"version": pending.version, "status": status, "instances": instances(next)}));
        }
        let connection = |instance: &Instance| {
            let up = links.iter().any(|(id, up)| *id == instance.id && *up);
            let error = self.peers.get(&instance.id).map(|peer| peer.error.as_str()).unwrap_or_default();
            json!({
                "name": instance.name, "status": if error.is_empty() { "connected" } else { "disconnected" },
                "replication_links": [{
                    "link_uid": format!("{}:{}", self.bdb, instance.id), "status": if up { "up" } else { "down" },
                }],
            })
        };
        json!({
            "cluster_name": state.name, "name": self.agreed.name, "active_config_version": self.agreed.version,
            "configurations": configurations, "connections": self.others().map(connection).collect::<Vec<_>>(),
            "connection_error": null,
        })
    }
}

fn mask(config: &mut Object) {
    for (key, value) in config.iter_mut() {
        let secret = key.starts_with("authentication_") && key.ends_with("_pass");
        if secret && value.as_str().is_some_and(|text| !text.is_empty()) {
            *value = json!("*****");
        }
    }
}
