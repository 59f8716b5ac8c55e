//! Backups, exports and imports of a database: what is asked for, and what the fields about it say (REST reference, 6.2 and 6.4).
//!
//! The work is done by the nodes that run the shards: see [`crate::dataset`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ActionKind, Bdb, BdbStatus, ClusterState, Context, Object, Refusal, ShardRole};
use crate::clock::{Millis, iso};

/// What is moved which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferKind {
    /// Out, by the schedule of the database.
    Backup,
    /// Out, on request.
    Export,
    /// In: all data is replaced.
    Import,
}

impl TransferKind {
    /// The word at the beginning of the fields about it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Export => "export",
            Self::Import => "import",
        }
    }
}

/// A backup, export or import under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The action that tells of it.
    pub id: String,
    /// Which.
    pub kind: TransferKind,
    /// Where to or where from, as the REST API's locations.
    pub places: Vec<Value>,
    /// When it began.
    pub started: Millis,
}

impl Bdb {
    /// The shards that must have done their part: all masters of what goes out; the node of the first master brings in.
    pub fn transfer_parts(&self, transfer: &Transfer) -> Vec<(u32, u32)> {
        let masters = self.shards.iter().filter(|shard| shard.role == ShardRole::Master);
        let mut parts: Vec<(u32, u32)> = masters.map(|shard| (shard.uid, shard.node)).collect();
        if transfer.kind == TransferKind::Import {
            parts.truncate(1);
        }
        parts
    }

    /// When the schedule last asked for a backup, if it ever did.
    pub fn backup_due(&self, now: Millis) -> bool {
        let (interval, offset) = (self.number("backup_interval") * 1000, self.number("backup_interval_offset") * 1000);
        if !self.flag("backup") || interval == 0 || self.config.get("backup_location").is_none_or(Value::is_null) {
            return false;
        }
        let last = now.saturating_sub(offset) / interval * interval + offset;
        self.backup_tried < last
    }

    fn tell(&mut self, kind: TransferKind, what: &str, value: Value) {
        self.config.insert(format!("{}_{what}", kind.word()), value);
    }
}

impl ClusterState {
    /// Begins one.
    pub(super) fn begin_transfer(
        &mut self,
        uid: u32,
        kind: TransferKind,
        places: Vec<Value>,
        ctx: &Context,
    ) -> Result<Value, Refusal> {
        let bdb = self.bdb(uid)?;
        let scheduled = kind == TransferKind::Backup;
        if !scheduled {
            self.license_allows(ctx)?;
        }
        let bdb = self.free_bdb(bdb.uid)?;
        if bdb.transfer.is_some() {
            return Err(Refusal::busy(format!("database {uid} is being exported or imported")));
        }
        let id = self.begin(ctx, ActionKind::Task, kind.word(), format!("bdb:{uid}"));
        let bdb = self.bdb_mut(uid)?;
        if scheduled {
            bdb.backup_tried = ctx.now;
        }
        let (word, first) = match kind {
            TransferKind::Import => ("importing", "initializing"),
            _ => ("exporting", "exporting"),
        };
        bdb.tell(kind, "status", json!(if places.is_empty() { word } else { first }));
        bdb.tell(kind, "progress", json!(0.0));
        bdb.tell(kind, "failure_reason", json!(""));
        if kind == TransferKind::Import {
            bdb.status = BdbStatus::ImportPending;
            bdb.action = Some(id.clone());
        }
        bdb.transfer = Some(Transfer { id, kind, places, started: ctx.now });
        Ok(Value::Null)
    }

    /// Notes how far it is, in percent.
    pub(super) fn transfer_at(&mut self, uid: u32, percent: u32) -> Result<Value, Refusal> {
        let bdb = self.bdb_mut(uid)?;
        let Some(transfer) = bdb.transfer.clone() else { return Ok(Value::Null) };
        bdb.tell(transfer.kind, "progress", json!(f64::from(percent)));
        if transfer.kind == TransferKind::Import {
            bdb.tell(transfer.kind, "status", json!("importing"));
        }
        if let Some(action) = self.actions.iter_mut().find(|action| action.uid == transfer.id) {
            action.progress = percent;
        }
        Ok(Value::Null)
    }

    /// Notes its end.
    pub(super) fn end_transfer(&mut self, uid: u32, failure: Option<String>, ctx: &Context) -> Result<Value, Refusal> {
        let bdb = self.bdb_mut(uid)?;
        let Some(transfer) = bdb.transfer.take() else { return Ok(Value::Null) };
        let kind = transfer.kind;
        bdb.tell(kind, "status", json!(if failure.is_some() { "failed" } else { "succeeded" }));
        bdb.tell(kind, "failure_reason", json!(failure.clone().unwrap_or_default()));
        if failure.is_none() {
            bdb.tell(kind, "progress", json!(100.0));
            bdb.config.insert(format!("last_{}_time", kind.word()), json!(iso(ctx.now)));
        }
        if bdb.status == BdbStatus::ImportPending {
            bdb.status = BdbStatus::Active;
        }
        self.end(ctx, &transfer.id, failure.clone());
        let event = format!("bdb_{}_{}", kind.word(), if failure.is_some() { "failed" } else { "succeeded" });
        self.event(ctx, &event, json!({"bdb_uid": uid.to_string()}));
        Ok(Value::Null)
    }

    /// Forgets how the last one went.
    pub(super) fn reset_transfer(&mut self, uid: u32, kind: TransferKind) -> Result<Value, Refusal> {
        let bdb = self.bdb_mut(uid)?;
        if bdb.transfer.as_ref().is_some_and(|transfer| transfer.kind == kind) {
            return Err(Refusal::new(406, "busy", format!("the {} is under way", kind.word())));
        }
        for (what, value) in [("status", json!("")), ("progress", json!(0.0)), ("failure_reason", json!(""))] {
            bdb.tell(kind, what, value);
        }
        Ok(Value::Null)
    }
}

/// Folders of the product itself, from which nothing may be imported (REST reference, 6.4).
const OWN_FOLDERS: [&str; 3] = ["/opt/redislabs", "/var/opt/redislabs", "/etc/opt/redislabs"];

/// Checks a location: its type, and the fields that the type needs.
pub fn check_location(place: &Value) -> Result<(), Refusal> {
    let text = |key: &str| place.get(key).and_then(Value::as_str).unwrap_or_default();
    let needed: &[&str] = match text("type") {
        "mount_point" => &["path"],
        "s3" => &["bucket_name", "access_key_id", "secret_access_key"],
        "url" => &["url"],
        "sftp" => &["sftp_url"],
        "gs" => &["bucket_name"],
        "abs" => &["account_name", "container"],
        other => {
            return Err(Refusal::new(406, "invalid_backup_location", format!("{other:?} is no type of a location")));
        }
    };
    if let Some(missing) = needed.iter().find(|key| text(key).is_empty()) {
        return Err(Refusal::new(406, "invalid_backup_location", format!("the location lacks {missing}")));
    }
    if text("type") == "mount_point" && OWN_FOLDERS.iter().any(|folder| text("path").starts_with(folder)) {
        return Err(Refusal::new(
            406,
            "invalid_backup_location",
            format!("{} is a folder of the product", text("path")),
        ));
    }
    Ok(())
}

/// The locations in the body of an export or import; any other attribute is refused (REST reference, 6.4).
pub fn places_in(kind: TransferKind, body: &Object) -> Result<Vec<Value>, Refusal> {
    let field = if kind == TransferKind::Import { "dataset_import_sources" } else { "export_location" };
    if let Some(key) = body.keys().find(|key| *key != field && *key != "email_notification") {
        return Err(Refusal::bad_request(format!("{key} is not expected here")));
    }
    let places = match body.get(field) {
        Some(Value::Array(places)) if kind == TransferKind::Import => places.clone(),
        Some(place @ Value::Object(_)) if kind != TransferKind::Import => vec![place.clone()],
        _ => Vec::new(),
    };
    if places.is_empty() {
        return Err(Refusal::bad_request(format!("{field} is missing")));
    }
    places.iter().try_for_each(check_location)?;
    Ok(places)
}
