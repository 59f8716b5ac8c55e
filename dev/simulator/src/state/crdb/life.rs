//! How a change of an Active-Active database comes to be on one cluster: prepared, decided or given up, and carried out on the
//! cluster's database (REST reference, 11.3). Each step may come twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Agreed, Crdb, CrdbCommand, Instance, Proposal, featureset};
use crate::state::{BdbStatus, ClusterState, Context, Object, Refusal, bdbs::BdbCommand};

fn refused(code: &'static str, why: impl Into<String>) -> Refusal {
    Refusal::new(406, code, why)
}

impl ClusterState {
    pub(in crate::state) fn apply_crdb(&mut self, command: CrdbCommand, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            CrdbCommand::Prepare(proposal) => self.prepare(*proposal, ctx),
            CrdbCommand::Commit { guid, version } => self.decide(&guid, version, ctx),
            CrdbCommand::Abort { guid, version } => self.give_up(&guid, version, ctx),
            CrdbCommand::Adopt(agreed) => self.adopt(*agreed, ctx),
            CrdbCommand::Carry { guid } => self.carry(&guid, ctx),
            CrdbCommand::Peers { guid, peers } => {
                self.crdb_mut(&guid)?.peers = peers;
                Ok(Value::Null)
            }
            CrdbCommand::Purge { guid } => {
                if self.crdb(&guid)?.pending.is_some() {
                    return Err(Refusal::busy("a change of the database is not decided"));
                }
                self.drop_crdb(&guid, ctx)
            }
            task => self.apply_crdb_task(task, ctx),
        }
    }

    fn prepare(&mut self, proposal: Proposal, ctx: &Context) -> Result<Value, Refusal> {
        let guid = proposal.guid.clone();
        let own = proposal.next.as_ref().and_then(|next| next.of_cluster(&self.name)).cloned();
        let Some(known) = self.crdbs.get(&guid) else {
            return match (&proposal.next, own) {
                (Some(next), Some(own)) => self.found_crdb(next.clone(), &own, proposal, ctx),
                // Nothing to take away.
                _ => Ok(Value::Null),
            };
        };
        if known.agreed.version >= proposal.version {
            let why = format!("the database is at version {} here", known.agreed.version);
            return if known.pending.is_none()
                && known.agreed.version == proposal.version
                && proposal.next.as_ref() == Some(&known.agreed)
            {
                Ok(Value::Null)
            } else {
                Err(Refusal::new(409, "config_version_conflict", why))
            };
        }
        if let Some(pending) = &known.pending {
            return if *pending == proposal {
                Ok(Value::Null)
            } else {
                Err(Refusal::busy(format!("task {} changes the database", pending.task)))
            };
        }
        if let (Some(next), Some(own)) = (&proposal.next, &own) {
            // A rehearsal: what is refused now is not decided later.
            self.free_bdb(known.bdb)?;
            let patch = difference(known, next, own);
            if !patch.is_empty() {
                self.clone().apply_bdb(BdbCommand::Update { uid: known.bdb, patch, flush: false }, ctx)?;
            }
        }
        let crdb = self.crdb_mut(&guid)?;
        (crdb.pending, crdb.pending_since) = (Some(proposal), ctx.now);
        Ok(Value::Null)
    }

    fn found_crdb(
        &mut self,
        next: Agreed,
        own: &Instance,
        proposal: Proposal,
        ctx: &Context,
    ) -> Result<Value, Refusal> {
        let taken = self.crdbs.values().any(|crdb| crdb.agreed.name == next.name)
            || self.bdbs.values().any(|bdb| bdb.name() == next.name && bdb.status != BdbStatus::DeletePending);
        if taken {
            return Err(refused(
                "name_conflict",
                format!("a database named {} exists on cluster {}", next.name, self.name),
            ));
        }
        let view = self.create_bdb(next.config_of(own), ctx)?;
        let bdb = view.get("uid").and_then(Value::as_u64).and_then(|uid| u32::try_from(uid).ok()).unwrap_or_default();
        let guid = next.guid.clone();
        let crdb = Crdb {
            own: own.id,
            bdb,
            agreed: Agreed { version: 0, ..next.clone() },
            pending: Some(proposal),
            pending_since: ctx.now,
            carried: next.version,
            before: None,
            peers: BTreeMap::new(),
        };
        self.crdbs.insert(guid, crdb);
        self.tell_bdb(bdb, &next, own.id)?;
        Ok(Value::Null)
    }

    /// Writes what the database is a part of into its own fields.
    fn tell_bdb(&mut self, uid: u32, agreed: &Agreed, own: u32) -> Result<(), Refusal> {
        let features = featureset(self);
        let bdb = self.bdb_mut(uid)?;
        let others = || agreed.instances.iter().filter(|one| one.id != own);
        let sources = others().map(|one| json!({"uid": one.id, "uri": format!("crdb://{}/{}", one.name, agreed.guid)}));
        let shown: Vec<Value> =
            others().filter_map(|one| Some(json!({"client_cert": agreed.certificates.get(&one.id)?}))).collect();
        let ids: Vec<String> = agreed.instances.iter().map(|one| one.id.to_string()).collect();
        for (key, value) in [
            ("crdt", json!(true)),
            ("crdt_guid", json!(agreed.guid)),
            ("crdt_replica_id", json!(own)),
            ("crdt_replicas", json!(ids.join(","))),
            ("crdt_sync", json!("enabled")),
            ("crdt_sources", sources.collect()),
            ("crdt_config_version", json!(agreed.version)),
            ("crdt_featureset_version", json!(features)),
            ("crdt_protocol_version", json!(1)),
            ("crdt_causal_consistency", json!(agreed.more.get("causal_consistency") == Some(&json!(true)))),
            ("authentication_ssl_crdt_certs", json!(shown)),
        ] {
            bdb.config.insert(key.to_owned(), value);
        }
        Ok(())
    }

    fn decide(&mut self, guid: &str, version: u64, ctx: &Context) -> Result<Value, Refusal> {
        let Some(crdb) = self.crdbs.get_mut(guid) else { return Ok(Value::Null) };
        let Some(proposal) = crdb.pending.clone().filter(|pending| pending.version == version) else {
            return if crdb.agreed.version >= version {
                Ok(Value::Null)
            } else {
                Err(Refusal::new(409, "config_version_conflict", format!("version {version} is not prepared here")))
            };
        };
        let Some(next) = proposal.next else { return self.drop_crdb(guid, ctx) };
        if next.of_cluster(&self.name).is_none() {
            return self.drop_crdb(guid, ctx);
        }
        self.install(next, ctx)
    }

    fn install(&mut self, next: Agreed, ctx: &Context) -> Result<Value, Refusal> {
        let crdb = self.crdb_mut(&next.guid.clone())?;
        crdb.pending = None;
        let (first, before) = (crdb.agreed.version == 0, std::mem::replace(&mut crdb.agreed, next));
        crdb.peers.retain(|id, _| crdb.agreed.instances.iter().any(|one| one.id == *id));
        if !first {
            crdb.before.get_or_insert(before);
        }
        let guid = crdb.agreed.guid.clone();
        self.event(ctx, "crdb_committed", json!({"crdb_guid": guid}));
        Ok(Value::Null)
    }

    fn give_up(&mut self, guid: &str, version: u64, ctx: &Context) -> Result<Value, Refusal> {
        let Some(crdb) = self.crdbs.get_mut(guid) else { return Ok(Value::Null) };
        if crdb.pending.as_ref().is_none_or(|pending| pending.version != version) {
            return Ok(Value::Null);
        }
        if crdb.agreed.version == 0 {
            return self.drop_crdb(guid, ctx);
        }
        crdb.pending = None;
        Ok(Value::Null)
    }

    fn adopt(&mut self, agreed: Agreed, ctx: &Context) -> Result<Value, Refusal> {
        if self.crdb(&agreed.guid)?.agreed.version >= agreed.version {
            return Ok(Value::Null);
        }
        self.install(agreed, ctx)
    }

    /// Has the database become what was agreed, once nothing else works on it.
    fn carry(&mut self, guid: &str, ctx: &Context) -> Result<Value, Refusal> {
        let crdb = self.crdb(guid)?.clone();
        let Some(own) = crdb.own_instance() else { return Ok(Value::Null) };
        let patch = crdb.before.as_ref().map(|before| difference_of(before, &crdb.agreed, own)).unwrap_or_default();
        self.tell_bdb(crdb.bdb, &crdb.agreed, own.id)?;
        let told = self.apply_bdb(BdbCommand::Update { uid: crdb.bdb, patch, flush: false }, ctx);
        // What only one cluster refuses after it was agreed shows in that cluster's log and not as a change without end.
        if let Err(refusal) = &told {
            if refusal.status == 409 {
                return told;
            }
            self.event(ctx, "crdb_not_carried_out", json!({"crdb_guid": guid, "error": refusal.message}));
        }
        let crdb = self.crdb_mut(guid)?;
        crdb.carried = crdb.agreed.version;
        crdb.before = None;
        Ok(Value::Null)
    }

    fn drop_crdb(&mut self, guid: &str, ctx: &Context) -> Result<Value, Refusal> {
        let Some(crdb) = self.crdbs.remove(guid) else { return Ok(Value::Null) };
        if self.bdbs.get(&crdb.bdb).is_some_and(|bdb| bdb.status != BdbStatus::DeletePending) {
            self.apply_bdb(BdbCommand::Delete { uid: crdb.bdb }, ctx)?;
        }
        self.event(ctx, "crdb_removed", json!({"crdb_guid": guid}));
        Ok(Value::Null)
    }
}

/// What changes of this cluster's database.
fn difference(crdb: &Crdb, next: &Agreed, own: &Instance) -> Object {
    difference_of(crdb.before.as_ref().unwrap_or(&crdb.agreed), next, own)
}

/// Only what differs between two agreements, so that what was changed on the database itself stays.
fn difference_of(before: &Agreed, next: &Agreed, own: &Instance) -> Object {
    let old = before.instances.iter().find(|one| one.id == own.id).map(|one| before.config_of(one)).unwrap_or_default();
    let mut patch = next.config_of(own);
    let defaults = crate::state::defaults::bdb();
    for key in old.keys().filter(|key| !patch.contains_key(*key)).cloned().collect::<Vec<_>>() {
        if let Some(default) = defaults.get(&key) {
            patch.insert(key, default.clone());
        }
    }
    patch.retain(|key, value| old.get(key) != Some(value));
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::{crdb::first, testing};

    const CTX: Context = Context { now: 1_000_000, scale: 0.0, seed: 1 };

    fn instance(name: &str) -> Value {
        json!({"cluster": {"name": name, "url": format!("https://{name}"), "credentials": {"username": "u", "password": "p"}}})
    }

    fn proposal(state: &ClusterState) -> Proposal {
        let body = json!({"default_db_config": {"name": "aa", "memory_size": 1 << 20}, "instances": [instance("c"), instance("d")]});
        let next = first(state, "g", &crate::state::object(body)).unwrap();
        Proposal { task: "t".into(), guid: "g".into(), coordinator: "c".into(), version: 1, next: Some(next) }
    }

    #[test]
    fn what_is_prepared_is_there_once_it_is_decided_and_gone_when_it_is_given_up() {
        let mut state = testing::two_nodes();
        let wanted = proposal(&state);
        for _ in 0..2 {
            state.apply_crdb(CrdbCommand::Prepare(Box::new(wanted.clone())), &CTX).unwrap();
            assert_eq!((state.bdbs.len(), state.crdbs["g"].agreed.version), (1, 0));
        }
        let mut other = state.clone();
        other.apply_crdb(CrdbCommand::Abort { guid: "g".into(), version: 1 }, &CTX).unwrap();
        assert!(other.crdbs.is_empty());
        assert_eq!(other.bdbs[&1].status, BdbStatus::DeletePending);
        for _ in 0..2 {
            state.apply_crdb(CrdbCommand::Commit { guid: "g".into(), version: 1 }, &CTX).unwrap();
            assert_eq!(state.crdbs["g"].agreed.version, 1);
        }
        assert_eq!(state.bdbs[&1].config["crdt_guid"], "g");
        assert_eq!(state.bdbs[&1].config["crdt_replica_id"], 1);
        let refusal =
            state.apply_crdb(CrdbCommand::Prepare(Box::new(Proposal { task: "other".into(), ..wanted })), &CTX);
        assert!(refusal.is_ok(), "the same again is no change");
        assert!(!state.crdbs["g"].view(&state).to_string().contains("password"));
    }
}
