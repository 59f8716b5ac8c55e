//! Versions of Redis that databases claim, and how one goes to a newer (REST reference, 6.6).
//!
//! There is one redis-server. A database of another version says so and runs on it all the same; an upgrade really
//! replaces its processes: new ones copy the data, take over, and the old ones go.

use serde_json::{Value, json};

use super::{
    ActionKind, BdbStatus, ClusterState, Context, Object, Refusal, ShardRole,
    bdbs::Rollback,
    reshard::{Reshard, Stage},
};

/// Versions that are offered beside that of the redis-server (REST reference, 6.6).
const CLAIMED: [&str; 4] = ["7.2", "7.4", "8.0", "8.2"];

/// What the body of an upgrade may hold.
const FIELDS: [&str; 10] = [
    "redis_version",
    "force_restart",
    "may_discard_data",
    "force_discard",
    "preserve_roles",
    "parallel_shards_upgrade",
    "keep_crdt_protocol_version",
    "keep_redis_version",
    "latest_with_modules",
    "modules",
];

/// Major and minor number.
fn rank(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// `7.0` of `7.0.15`.
fn short(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Short and full form of every version that a node with this redis-server offers, the oldest first.
pub fn offered(installed: &str) -> Vec<(String, String)> {
    let newer = CLAIMED.iter().filter(|version| rank(version) > rank(installed));
    let mut all = vec![(short(installed), installed.to_owned())];
    all.extend(newer.map(|version| ((*version).to_owned(), format!("{version}.0"))));
    all
}

/// The full form of a version, short or full.
pub fn full(installed: &str, version: &str) -> Option<String> {
    offered(installed).into_iter().find(|(short, full)| short == version || full == version).map(|(_, full)| full)
}

impl ClusterState {
    /// `POST /v1/bdbs/{uid}/upgrade`.
    pub(super) fn upgrade_bdb(&mut self, uid: u32, body: &Object, ctx: &Context) -> Result<Value, Refusal> {
        self.license_allows(ctx)?;
        if let Some(key) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(Refusal::bad_request(format!("an upgrade has no field {key}")));
        }
        let mut bdb = self.free_bdb(uid)?;
        let flag = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
        let installed = self.nodes.values().next().map(|node| node.redis_version.clone()).unwrap_or_default();
        let newest = offered(&installed).pop().map(|(short, _)| short).unwrap_or_default();
        let wanted = match body.get("redis_version").and_then(Value::as_str) {
            Some(version) => version.to_owned(),
            None if flag("keep_redis_version") => bdb.text("redis_version").to_owned(),
            None => newest,
        };
        let refuse = |why: String| Err(Refusal::new(406, "invalid_version", why));
        if full(&installed, &wanted).is_none() {
            return refuse(format!("redis version {wanted} is not installed"));
        }
        let now = bdb.text("redis_version").to_owned();
        if rank(&wanted) < rank(&now) {
            return refuse(format!("a database of version {now} does not go back to {wanted}"));
        }
        if rank(&wanted) == rank(&now) && !flag("force_restart") {
            return refuse(format!("the database is of version {now} already"));
        }
        if !bdb.replication() && bdb.text("data_persistence") == "disabled" && !flag("may_discard_data") {
            let why = "the database has neither replication nor persistence: its upgrade needs may_discard_data";
            return Err(Refusal::new(406, "may_discard_data_required", why));
        }
        let old = Rollback { config: bdb.config.clone(), passwords: bdb.passwords.clone(), shards: bdb.shards.clone() };
        bdb.config.insert("redis_version".to_owned(), json!(short(&wanted)));
        let mut incoming = Vec::new();
        // Masters first: the first of a group is the master to be, and each takes the place of one on the same node.
        let mut places: Vec<_> =
            bdb.shards.iter().map(|shard| (shard.role == ShardRole::Slave, shard.group, shard.node)).collect();
        places.sort_unstable();
        for (_, group, node) in places {
            let shard = self.new_shard(node, ShardRole::Slave, group, bdb.groups());
            incoming.push(shard.uid);
            bdb.shards.push(shard);
        }
        bdb.reshard = Some(Reshard { from: bdb.groups(), stage: Stage::Copy, hold: 0, since: ctx.now, incoming });
        bdb.version += 1;
        bdb.status = BdbStatus::ActiveChangePending;
        (bdb.changed, bdb.due, bdb.rollback) = (ctx.now, ctx.due(1500), Some(old));
        bdb.action = Some(self.begin(ctx, ActionKind::StateMachine, "SMUpgradeBDB", format!("bdb:{uid}")));
        let view = bdb.view(self);
        self.bdbs.insert(uid, bdb);
        Ok(view)
    }
}
