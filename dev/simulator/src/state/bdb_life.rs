//! How databases are created, changed and deleted (REST reference, 6.1 and 16.4).

use serde_json::{Value, json};

use super::{
    ActionKind, Bdb, BdbStatus, ClusterState, Context, Endpoint, Object, Refusal, ShardRole,
    bdb_rules::{known_fields, merge, node_list, one_password},
    bdbs::{BdbCommand, PasswordChange, Rollback},
    defaults,
    placement::Wish,
};

impl ClusterState {
    pub(super) fn apply_bdb(&mut self, command: BdbCommand, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            BdbCommand::Create { body } => self.create_bdb(body, ctx),
            BdbCommand::Update { uid, patch, flush } => self.update_bdb(uid, patch, flush, ctx),
            BdbCommand::Passwords { uid, change } => self.change_passwords(uid, change, ctx),
            BdbCommand::Delete { uid } => self.delete_bdb(uid, ctx),
            BdbCommand::Finish { uid } => {
                let bdb = self.bdb_mut(uid)?;
                bdb.status = BdbStatus::Active;
                (bdb.rollback, bdb.recovering) = (None, false);
                let action = bdb.action.clone().unwrap_or_default();
                self.end(ctx, &action, None);
                Ok(Value::Null)
            }
            BdbCommand::Fail { uid, error } => {
                let bdb = self.bdb_mut(uid)?;
                if bdb.status == BdbStatus::Pending {
                    bdb.status = BdbStatus::CreationFailed;
                    bdb.shards.clear();
                } else {
                    bdb.status = BdbStatus::Active;
                    bdb.undo_reshard();
                    if let Some(old) = bdb.rollback.take() {
                        (bdb.config, bdb.passwords, bdb.shards) = (old.config, old.passwords, old.shards);
                        bdb.version += 1;
                    }
                }
                let action = bdb.action.clone().unwrap_or_default();
                self.end(ctx, &action, Some(error));
                self.rebind_endpoints();
                Ok(Value::Null)
            }
            BdbCommand::Forget { uid } => {
                let bdb = self.bdbs.remove(&uid);
                let action = bdb.as_ref().and_then(|bdb| bdb.action.clone()).unwrap_or_default();
                self.end(ctx, &action, None);
                let name = bdb.as_ref().map(|bdb| bdb.name().to_owned());
                self.event(ctx, "cluster_bdb_deleted", json!({"bdb_uid": uid.to_string(), "bdb_name": name}));
                Ok(Value::Null)
            }
            BdbCommand::Alerts { uid, alerts } => self.set_alerts(uid, alerts),
            BdbCommand::Traffic { uid, stopped } => {
                self.bdb_mut(uid)?.traffic_stopped = stopped;
                let name = if stopped { "stop_traffic" } else { "resume_traffic" };
                let action = self.begin(ctx, ActionKind::Task, name, format!("bdb:{uid}"));
                self.end(ctx, &action, None);
                Ok(json!({"action_uid": action}))
            }
            BdbCommand::Recover { uid, with_files, without_data } => {
                self.recover_bdb(uid, &with_files, without_data, ctx)
            }
            BdbCommand::Start { shard, token } => {
                let shard = self.shard_mut(shard)?;
                (shard.start, shard.synced) = (Some(token), false);
                (shard.fresh, shard.born) = (!shard.born, true);
                Ok(Value::Null)
            }
            BdbCommand::Synced { shard, synced } => {
                self.shard_mut(shard)?.synced = synced;
                Ok(Value::Null)
            }
            BdbCommand::Upgrade { uid, body } => self.upgrade_bdb(uid, &body, ctx),
            BdbCommand::Transfer { uid, kind, places } => self.begin_transfer(uid, kind, places, ctx),
            BdbCommand::TransferAt { uid, percent } => self.transfer_at(uid, percent),
            BdbCommand::TransferEnd { uid, failure } => self.end_transfer(uid, failure, ctx),
            BdbCommand::TransferReset { uid, kind } => self.reset_transfer(uid, kind),
            BdbCommand::Reshard { uid, stage } => self.reshard_to(uid, stage, ctx),
            BdbCommand::Failover { shard, track } => self.failover(shard, track, ctx),
        }
    }

    pub(super) fn create_bdb(&mut self, body: Object, ctx: &Context) -> Result<Value, Refusal> {
        self.license_allows(ctx)?;
        let mut config = defaults::bdb();
        for key in ["proxy_policy", "shards_placement"] {
            let sharded = body.get("shards_count").and_then(Value::as_u64).unwrap_or(1) > 1;
            let policy = match (key, sharded) {
                ("proxy_policy", true) => "default_sharded_proxy_policy",
                ("proxy_policy", false) => "default_non_sharded_proxy_policy",
                _ => "default_shards_placement",
            };
            config.insert(key.to_owned(), self.policy.get(policy).cloned().unwrap_or(Value::Null));
        }
        known_fields(&body)?;
        let uid = match body.get("uid").and_then(Value::as_u64).and_then(|uid| u32::try_from(uid).ok()) {
            Some(uid) if uid == 0 || self.bdbs.contains_key(&uid) => {
                return Err(Refusal::new(409, "uid_exists", format!("database {uid} exists")));
            }
            Some(uid) => uid,
            None => self.counters.bdb + 1,
        };
        if body.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Refusal::new(406, "missing_db_name", "the name of the database is missing"));
        }
        if !body.contains_key("memory_size") {
            return Err(Refusal::new(406, "missing_memory_size", "memory_size is missing"));
        }
        merge(&mut config, body);
        let passwords = one_password(&config);
        let mut bdb = Bdb {
            uid,
            status: BdbStatus::Pending,
            version: 1,
            shards: Vec::new(),
            endpoint: Endpoint { port: 0, nodes: Vec::new() },
            passwords,
            action: None,
            created: ctx.now,
            changed: ctx.now,
            due: 0,
            rollback: None,
            alerts: defaults::bdb_alerts().into(),
            traffic_stopped: false,
            recovering: false,
            reshard: None,
            transfer: None,
            backup_tried: 0,
            config: config.into(),
        };
        self.validate(&bdb)?;
        let placeable = self.nodes.values().filter(|node| node.accepts_shards() && node.voter).count();
        if bdb.replication() && placeable < 2 {
            return Err(Refusal::new(406, "invalid_replication", "replication needs at least two nodes"));
        }
        bdb.due = ctx.due(1500 + 300 * u64::from(bdb.groups()));
        let wanted = u16::try_from(bdb.number("port")).unwrap_or(0);
        bdb.endpoint.port = self.choose_port(wanted, uid, ctx.seed)?;
        let (only, avoid) = (node_list(&bdb.config, "use_nodes"), node_list(&bdb.config, "avoid_nodes"));
        let placed = self.place(&Wish {
            groups: bdb.groups(),
            replication: bdb.replication(),
            shard_memory: bdb.shard_memory(),
            dense: bdb.text("shards_placement") != "sparse",
            rack_aware: bdb.flag("rack_aware"),
            use_nodes: &only,
            avoid_nodes: &avoid,
        })?;
        self.license_has_room(placed.iter().map(|(_, replica)| 1 + usize::from(replica.is_some())).sum())?;
        for (group, (master, replica)) in (0u32..).zip(placed) {
            bdb.shards.push(self.new_shard(master, ShardRole::Master, group, bdb.groups()));
            if let Some(replica) = replica {
                bdb.shards.push(self.new_shard(replica, ShardRole::Slave, group, bdb.groups()));
            }
        }
        bdb.endpoint.nodes = self.endpoint_nodes(&bdb);
        bdb.action = Some(self.begin(ctx, ActionKind::StateMachine, "SMCreateBDB", format!("bdb:{uid}")));
        self.counters.bdb = self.counters.bdb.max(uid);
        self.event(ctx, "cluster_bdb_created", json!({"bdb_uid": uid.to_string(), "bdb_name": bdb.name()}));
        let view = bdb.view(self);
        self.bdbs.insert(uid, bdb);
        Ok(view)
    }

    fn update_bdb(&mut self, uid: u32, mut patch: Object, flush: bool, ctx: &Context) -> Result<Value, Refusal> {
        self.license_allows(ctx)?;
        known_fields(&patch)?;
        let mut bdb = self.free_bdb(uid)?;
        let emptied = patch.get("module_list").and_then(Value::as_array).is_some_and(Vec::is_empty);
        if emptied && bdb.config.get("module_list").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(Refusal::new(406, "missing_module", "the modules of a database cannot be taken away"));
        }
        for key in ["uid", "type"] {
            if patch.get(key).is_some_and(|value| *value != json!(uid) && bdb.config.get(key) != Some(value)) {
                return Err(Refusal::new(406, "invalid_param", format!("{key} cannot be changed")));
            }
        }
        if patch.get("redis_version").is_some_and(|version| bdb.config.get("redis_version") != Some(version)) {
            return Err(Refusal::new(406, "invalid_version", "redis_version is changed by an upgrade of the database"));
        }
        let port = patch.get("port").and_then(Value::as_u64).unwrap_or(0);
        if port != 0 && port != u64::from(bdb.endpoint.port) {
            return Err(Refusal::new(406, "port_unavailable", "the port of a database cannot be changed"));
        }
        patch.remove("port");
        let old = Rollback { config: bdb.config.clone(), passwords: bdb.passwords.clone(), shards: bdb.shards.clone() };
        let (old_groups, old_replication) = (bdb.groups(), bdb.replication());
        let old_name = bdb.name().to_owned();
        let password_given = patch.contains_key("authentication_redis_pass");
        merge(&mut bdb.config, patch);
        if password_given {
            bdb.passwords = one_password(&bdb.config);
        }
        self.validate(&bdb)?;
        let mut duration = 500;
        let grows = bdb.groups() != old_groups;
        if grows && (bdb.groups() < old_groups || !bdb.groups().is_multiple_of(old_groups)) {
            return Err(Refusal::new(406, "bad_shards_blueprint", "shards_count can only grow to a multiple"));
        }
        if old.is_sharded() && !bdb.flag("sharding") {
            return Err(Refusal::new(406, "invalid_sharding", "a sharded database stays sharded"));
        }
        if grows && old_replication && !bdb.replication() {
            return Err(Refusal::new(
                406,
                "invalid_replication",
                "replication can end once the database has its shards",
            ));
        }
        // Room is asked for with the old claim given back.
        self.bdbs.remove(&uid);
        // On a refusal the caller drops this state, so nothing has to be put back.
        self.resize(&mut bdb, old_replication)?;
        if bdb.replication() && !old_replication {
            duration = 1500;
        }
        if grows {
            self.begin_reshard(&mut bdb, old_groups, ctx)?;
        }
        if flush {
            bdb.shards.iter_mut().for_each(|shard| shard.flushes += 1);
        }
        if bdb.name() != old_name {
            let details = json!({"bdb_uid": uid.to_string(), "old_val": old_name, "new_val": bdb.name()});
            self.event(ctx, "bdb_name_updated", details);
        }
        bdb.version += 1;
        bdb.status = BdbStatus::ActiveChangePending;
        (bdb.changed, bdb.due, bdb.rollback) = (ctx.now, ctx.due(duration), Some(old));
        bdb.endpoint.nodes = self.endpoint_nodes(&bdb);
        bdb.action = Some(self.begin(ctx, ActionKind::StateMachine, "SMUpdateBDB", format!("bdb:{uid}")));
        let view = bdb.view(self);
        self.bdbs.insert(uid, bdb);
        Ok(view)
    }

    /// Checks that a changed database still fits, and adds or drops replicas. The database is not in the state now.
    fn resize(&mut self, bdb: &mut Bdb, replicated_before: bool) -> Result<(), Refusal> {
        if replicated_before && !bdb.replication() {
            bdb.shards.retain(|shard| shard.role == ShardRole::Master);
        }
        for node in self.nodes.values() {
            let here = bdb.shards.iter().filter(|shard| shard.node == node.uid).count() as u64;
            if here > 0 && node.is_up() && here * bdb.shard_memory() > self.free_provisional(node) {
                return Err(Refusal::new(
                    406,
                    "insufficient_resources",
                    "Not enough resources in cluster to host the database",
                ));
            }
        }
        if bdb.replication() && !replicated_before {
            if self.nodes.values().filter(|node| node.accepts_shards() && node.voter).count() < 2 {
                return Err(Refusal::new(406, "replication_node_violation", "replication needs at least two nodes"));
            }
            self.license_has_room(bdb.shards.len() * 2)?;
            let mut groups: Vec<u32> = bdb.shards.iter().map(|shard| shard.group).collect();
            groups.dedup();
            for group in groups {
                self.add_replica(bdb, group, &[])?;
            }
        }
        Ok(())
    }

    fn change_passwords(&mut self, uid: u32, change: PasswordChange, ctx: &Context) -> Result<Value, Refusal> {
        let mut bdb = self.free_bdb(uid)?;
        let old = Rollback { config: bdb.config.clone(), passwords: bdb.passwords.clone(), shards: bdb.shards.clone() };
        match change {
            PasswordChange::Replace(password) => bdb.passwords = vec![password],
            PasswordChange::Add(password) => {
                if !bdb.passwords.contains(&password) {
                    bdb.passwords.push(password);
                }
            }
            PasswordChange::Remove(password) => {
                if !bdb.passwords.contains(&password) {
                    return Err(Refusal::not_found("password_not_exist", "the database has no such password"));
                }
                bdb.passwords.retain(|one| *one != password);
            }
        }
        bdb.version += 1;
        bdb.status = BdbStatus::ActiveChangePending;
        (bdb.changed, bdb.due, bdb.rollback) = (ctx.now, ctx.due(500), Some(old));
        bdb.action = Some(self.begin(ctx, ActionKind::StateMachine, "SMUpdateBDB", format!("bdb:{uid}")));
        self.bdbs.insert(uid, bdb);
        Ok(Value::Null)
    }

    fn delete_bdb(&mut self, uid: u32, ctx: &Context) -> Result<Value, Refusal> {
        let bdb = self.bdb(uid)?;
        if bdb.status == BdbStatus::DeletePending {
            return Err(Refusal::busy(format!("database {uid} is being deleted")));
        }
        let replaced = bdb.action.clone().filter(|_| bdb.busy());
        if let Some(action) = replaced {
            self.end(ctx, &action, Some("the database was deleted".to_owned()));
        }
        let action = self.begin(ctx, ActionKind::StateMachine, "SMDeleteBDB", format!("bdb:{uid}"));
        let due = ctx.due(1000);
        let bdb = self.bdb_mut(uid)?;
        bdb.status = BdbStatus::DeletePending;
        (bdb.action, bdb.due) = (Some(action.clone()), due);
        Ok(json!({"action_uid": action}))
    }

    fn set_alerts(&mut self, uid: u32, alerts: Object) -> Result<Value, Refusal> {
        let bdb = self.bdb_mut(uid)?;
        for (name, setting) in alerts {
            let Some(alert) = bdb.alerts.get_mut(&name).and_then(Value::as_object_mut) else {
                return Err(Refusal::bad_request(format!("unknown alert {name}")));
            };
            for key in ["enabled", "threshold"] {
                if let Some(value) = setting.get(key) {
                    alert.insert(key.to_owned(), value.clone());
                }
            }
        }
        Ok(Value::Object(bdb.alerts.clone().own()))
    }
}
