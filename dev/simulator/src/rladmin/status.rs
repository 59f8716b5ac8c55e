//! `rladmin status` (REST reference, 15.1; reference, W7).

use serde_json::{Value, json};

use super::{
    Local, RladminError,
    table::{Table, bytes, cell, on_off},
};

/// The sections asked for, with an empty line between.
pub(super) async fn render(local: &Local, options: &[&str]) -> Result<String, RladminError> {
    let sections = ["nodes", "databases", "endpoints", "shards"];
    let asked: Vec<&str> = options.iter().copied().filter(|option| sections.contains(option)).collect();
    let mut wanted = Vec::new();
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match (*option, rest.as_slice().first()) {
            ("extra", Some(name @ (&"all" | &"rack_id"))) => {
                wanted.push(*name);
                rest.next();
            }
            (section, _) if sections.contains(&section) => {}
            (unknown, _) => return Err(RladminError::Usage(format!("unknown option of status: {unknown}"))),
        }
    }
    let extra = wanted.contains(&"all");
    let racks = extra || wanted.contains(&"rack_id");
    let nodes = local.get("/v1/nodes").await?;
    let status = local.get("/v1/nodes/status").await?;
    let bdbs = local.get("/v1/bdbs").await?;
    let shards = local.get("/v1/shards").await?;
    let own = local.get("/v1/local/node/master_healthcheck").await?;
    let see = Seen {
        nodes: list(&nodes),
        bdbs: list(&bdbs),
        shards: list(&shards),
        status: &status,
        own: cell(&own, "node_uid"),
        extra,
        racks,
    };
    let mut out = Vec::new();
    if extra {
        out.push(see.cluster());
    }
    for section in sections {
        if asked.is_empty() || asked.contains(&section) {
            out.push(match section {
                "nodes" => format!("CLUSTER NODES:\n{}", see.nodes()),
                "databases" => format!("DATABASES:\n{}", see.databases(local).await),
                "endpoints" => format!("ENDPOINTS:\n{}", see.endpoints()),
                _ => format!("SHARDS:\n{}", see.shards()),
            });
        }
    }
    Ok(out.join("\n\n"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

struct Seen<'a> {
    nodes: &'a [Value],
    bdbs: &'a [Value],
    shards: &'a [Value],
    status: &'a Value,
    own: String,
    /// All columns.
    extra: bool,
    /// The racks of nodes and shards.
    racks: bool,
}

impl Seen<'_> {
    fn mark(&self, uid: &str) -> String {
        format!("{}node:{uid}", if uid == self.own { "*" } else { "" })
    }

    fn cluster(&self) -> String {
        let master = self.nodes.iter().find(|node| {
            self.status.get(cell(node, "uid")).is_some_and(|status| status.get("role") == Some(&json!("master")))
        });
        let master =
            master.map_or_else(|| "none".to_owned(), |node| format!("{} ({})", cell(node, "uid"), cell(node, "addr")));
        let health = if self.nodes.iter().all(|node| cell(node, "status") != "down") { "OK" } else { "DEGRADED" };
        format!(
            "CLUSTER:\nOK. Cluster master: {master}\nCluster health: {health}, [0, 0.00, 0.00]\nfailures/minute - avg1 0.00, avg15 0.00, avg60 0.00."
        )
    }

    fn nodes(&self) -> Table {
        let racks = self.racks || self.nodes.iter().any(|node| !cell(node, "rack_id").is_empty());
        let mut head = vec!["NODE:ID", "ROLE", "ADDRESS", "EXTERNAL_ADDRESS", "HOSTNAME"];
        head.extend(if self.extra { vec!["MASTERS", "SLAVES", "OVERBOOKING_DEPTH"] } else { vec!["SHARDS"] });
        head.extend(["CORES", "FREE_RAM", "PROVISIONAL_RAM", "VERSION"]);
        head.extend(self.extra.then_some("SHA"));
        head.extend(racks.then_some("RACK-ID"));
        head.push("STATUS");
        let mut table = Table::new(&head);
        for node in self.nodes {
            let uid = cell(node, "uid");
            let nothing = json!({});
            let status = self.status.get(&uid).unwrap_or(&nothing);
            let number = |key: &str| status.get(key).and_then(Value::as_u64);
            let down = cell(node, "status") == "down";
            let total = node.get("total_memory").and_then(Value::as_u64).unwrap_or(0);
            let ram = |key: &str, total: u64| {
                let free = number(key).filter(|_| !down).map_or_else(|| "-".to_owned(), bytes);
                format!("{free}/{}", bytes(total))
            };
            let external = node.get("external_addr").map(list).unwrap_or_default();
            let count = |key: &str| status.get(key).map_or(0, |shards| list(shards).len()).to_string();
            let resting =
                status.get("maintenance_snapshot").is_some() || node.get("accept_servers") == Some(&json!(false));
            let mut row = vec![
                self.mark(&uid),
                if cell(status, "role") == "master" { "master" } else { "slave" }.to_owned(),
                cell(node, "addr"),
                external.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                cell(node, "hostname"),
            ];
            if self.extra {
                row.extend([
                    count("master_shards"),
                    count("slave_shards"),
                    bytes(number("node_overbooking_depth").unwrap_or(0)),
                ]);
            } else if resting {
                row.push("0/0".to_owned());
            } else {
                row.push(format!("{}/{}", cell(node, "shard_count"), cell(node, "max_redis_servers")));
            }
            row.extend([
                cell(node, "cores"),
                ram("free_ram", total),
                if resting {
                    "0KB/0KB".to_owned()
                } else {
                    ram("free_provisional_ram", number("total_provisional_ram").unwrap_or(total / 100 * 82))
                },
                cell(node, "software_version"),
            ]);
            if self.extra {
                row.push(cell(status, "software_version_sha"));
            }
            if racks {
                let rack = cell(node, "rack_id");
                row.push(if rack.is_empty() { "-".to_owned() } else { rack });
            }
            row.push(match cell(node, "status").as_str() {
                "active" => "OK".to_owned(),
                "down" => format!("DOWN, last seen {}s ago", cell(status, "last_seen_seconds_ago")),
                other => other.to_uppercase(),
            });
            table.row(row);
        }
        table
    }

    async fn databases(&self, local: &Local) -> Table {
        let mut head =
            vec!["DB:ID", "NAME", "TYPE", "STATUS", "SHARDS", "PLACEMENT", "REPLICATION", "PERSISTENCE", "ENDPOINT"];
        if self.extra {
            head.extend([
                "EXEC_STATE",
                "EXEC_STATE_MACHINE",
                "BACKUP_PROGRESS",
                "MISSING_BACKUP_TIME",
                "REDIS_VERSION",
            ]);
        }
        let mut table = Table::new(&head);
        for bdb in self.bdbs {
            let mut status = cell(bdb, "status");
            if status == "recovery" {
                let plan =
                    local.get(&format!("/v1/bdbs/{}/actions/recover", cell(bdb, "uid"))).await.unwrap_or_default();
                status = format!("recovery ({})", cell(&plan, "status"));
            }
            let endpoint = bdb.get("endpoints").map(list).unwrap_or_default().first();
            let mut row = vec![
                format!("db:{}", cell(bdb, "uid")),
                cell(bdb, "name"),
                cell(bdb, "type"),
                status,
                cell(bdb, "shards_count"),
                cell(bdb, "shards_placement"),
                on_off(bdb, "replication"),
                cell(bdb, "data_persistence"),
                endpoint.map(|one| format!("{}:{}", cell(one, "dns_name"), cell(one, "port"))).unwrap_or_default(),
            ];
            if self.extra {
                let idle = || "N/A".to_owned();
                row.extend([idle(), idle(), idle(), idle(), cell(bdb, "version")]);
            }
            table.row(row);
        }
        table
    }

    fn endpoints(&self) -> Table {
        let mut head = vec!["DB:ID", "NAME", "ID", "NODE", "ROLE", "SSL"];
        head.extend(self.extra.then_some("WATCHDOG_STATUS"));
        let mut table = Table::new(&head);
        for bdb in self.bdbs {
            let listed = bdb.get("endpoints").map(list).unwrap_or_default().iter();
            // Listed once, though the API lists those with addresses outside twice.
            for endpoint in listed.filter(|endpoint| cell(endpoint, "addr_type") != "external") {
                for address in endpoint.get("addr").map(list).unwrap_or_default() {
                    let node = self.nodes.iter().find(|node| node.get("addr") == Some(address));
                    let mut row = vec![
                        format!("db:{}", cell(bdb, "uid")),
                        cell(bdb, "name"),
                        format!("endpoint:{}", cell(endpoint, "uid")),
                        node.map(|node| self.mark(&cell(node, "uid"))).unwrap_or_default(),
                        cell(endpoint, "proxy_policy"),
                        if cell(bdb, "tls_mode") == "enabled" { "Yes" } else { "No" }.to_owned(),
                    ];
                    row.extend(self.extra.then(|| "OK".to_owned()));
                    table.row(row);
                }
            }
        }
        table
    }

    fn shards(&self) -> Table {
        let mut head = vec!["DB:ID", "NAME", "ID", "NODE", "ROLE", "SLOTS", "USED_MEMORY"];
        if self.extra {
            head.extend(["BACKUP_PROGRESS", "RAM_FRAG", "WATCHDOG_STATUS"]);
        }
        head.extend(self.racks.then_some("RACK-ID"));
        head.push("STATUS");
        let mut table = Table::new(&head);
        for shard in self.shards {
            let bdb = self.bdbs.iter().find(|bdb| bdb.get("uid") == shard.get("bdb_uid"));
            let used =
                shard.get("redis_info").and_then(|info| info.get("used_memory")).and_then(Value::as_u64).unwrap_or(0);
            let ok = cell(shard, "detailed_status") == "ok";
            let mut row = vec![
                format!("db:{}", cell(shard, "bdb_uid")),
                bdb.map(|bdb| cell(bdb, "name")).unwrap_or_default(),
                format!("redis:{}", cell(shard, "uid")),
                self.mark(&cell(shard, "node_uid")),
                cell(shard, "role"),
                cell(shard, "assigned_slots"),
                bytes(used),
            ];
            if self.extra {
                row.extend(["N/A", "N/A", if ok { "OK" } else { "DOWN" }].map(str::to_owned));
            }
            if self.racks {
                let uid = cell(shard, "node_uid");
                let node = self.nodes.iter().find(|node| cell(node, "uid") == uid);
                row.push(
                    node.map(|node| cell(node, "rack_id"))
                        .filter(|rack| !rack.is_empty())
                        .unwrap_or_else(|| "-".to_owned()),
                );
            }
            row.push(if ok { "OK" } else { "DOWN" }.to_owned());
            table.row(row);
        }
        table
    }
}
