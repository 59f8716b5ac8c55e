//! Users, roles and Redis ACLs (REST reference, 9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ClusterState, Context, Object, Refusal, password_hash};
use crate::clock::{Millis, iso};

/// A user. Passwords are kept as the hashes that Redis ACLs take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// Number.
    pub uid: u32,
    /// E-mail; may be empty.
    pub email: String,
    /// Name; may be empty.
    pub name: String,
    /// Roles.
    pub role_uids: Vec<u32>,
    /// Hashes of the passwords that work.
    pub passwords: Vec<String>,
    /// When the newest password was set.
    pub password_issued: Millis,
    /// Until when logins are refused.
    pub locked_until: Option<Millis>,
    /// Whether to send alerts.
    pub email_alerts: bool,
}

/// A role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    /// Number; 1 to 6 are built in.
    pub uid: u32,
    /// Name.
    pub name: String,
    /// Management role (REST reference, 1.6).
    pub management: String,
}

/// A Redis ACL.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Acl {
    /// Number; 1 to 3 are built in.
    pub uid: u32,
    /// Name.
    pub name: String,
    /// Rule.
    pub acl: String,
}

/// Changes to users, roles and ACLs.
#[derive(Debug, Clone)]
pub enum UserCommand {
    /// `POST /v1/users`.
    Create { body: Object },
    /// `PUT /v1/users/{uid}`.
    Update { uid: u32, patch: Object },
    /// `DELETE /v1/users/{uid}`.
    Delete { uid: u32 },
    /// `PUT`, `POST`, `DELETE /v1/users/password`.
    Password { uid: u32, replace: bool, add: Option<String>, remove: Option<String> },
    /// Too many wrong passwords, or none any more.
    Lock { uid: u32, until: Option<Millis> },
    /// `POST` or `PUT` of a role.
    PutRole { uid: Option<u32>, body: Object },
    /// `DELETE` of a role.
    DeleteRole { uid: u32 },
    /// `POST` or `PUT` of an ACL.
    PutAcl { uid: Option<u32>, body: Object },
    /// `DELETE` of an ACL.
    DeleteAcl { uid: u32 },
}

impl User {
    /// The user that bootstrap makes.
    pub fn first_admin(email: &str, password: &str, now: Millis) -> Self {
        Self {
            uid: 1,
            email: email.to_owned(),
            name: "Administrator".to_owned(),
            role_uids: vec![1],
            passwords: vec![password_hash(password)],
            password_issued: now,
            locked_until: None,
            email_alerts: true,
        }
    }

    /// Whether it answers to this login.
    pub fn is_called(&self, login: &str) -> bool {
        !login.is_empty() && (self.email == login || self.name == login)
    }

    /// Whether logins are refused now.
    pub fn locked(&self, now: Millis) -> bool {
        self.locked_until.is_some_and(|until| now < until)
    }

    /// As the API shows it.
    pub fn view(&self, state: &ClusterState, now: Millis) -> Value {
        let role = self.role_uids.first().and_then(|uid| state.roles.get(uid)).map(|role| role.management.clone());
        json!({
            "uid": self.uid, "email": self.email, "name": self.name, "role": role.unwrap_or_else(|| "none".to_owned()),
            "role_uids": self.role_uids, "auth_method": "regular", "status": if self.locked(now) { "locked" } else { "active" },
            "password_issue_date": iso(self.password_issued), "email_alerts": self.email_alerts, "bdbs_email_alerts": [],
            "cluster_email_alerts": self.email_alerts, "certificate_subject_line": "", "last_login": self.password_issued / 1000,
        })
    }
}

impl Role {
    /// As the API shows it.
    pub fn view(&self) -> Value {
        json!({"uid": self.uid, "name": self.name, "management": self.management, "resources": []})
    }
}

impl Acl {
    /// As the API shows it.
    pub fn view(&self) -> Value {
        json!({"uid": self.uid, "name": self.name, "acl": self.acl, "account_id": null, "min_version": "6.0", "max_version": ""})
    }
}

/// Roles 1 to 6.
pub fn built_in_roles() -> BTreeMap<u32, Role> {
    [
        ("Admin", "admin"),
        ("Cluster Member", "cluster_member"),
        ("Cluster Viewer", "cluster_viewer"),
        ("DB Member", "db_member"),
        ("DB Viewer", "db_viewer"),
        ("None", "none"),
    ]
    .into_iter()
    .zip(1u32..)
    .map(|((name, management), uid)| (uid, Role { uid, name: name.to_owned(), management: management.to_owned() }))
    .collect()
}

/// ACLs 1 to 3.
pub fn built_in_acls() -> BTreeMap<u32, Acl> {
    [("Full Access", "+@all ~*"), ("Read Only", "+@read ~*"), ("Not Dangerous", "+@all -@dangerous ~*")]
        .into_iter()
        .zip(1u32..)
        .map(|((name, acl), uid)| (uid, Acl { uid, name: name.to_owned(), acl: acl.to_owned() }))
        .collect()
}

/// Management roles in the order of the built-in role uids.
const MANAGEMENT: [&str; 7] =
    ["admin", "cluster_member", "cluster_viewer", "db_member", "db_viewer", "none", "user_manager"];

fn text(body: &Object, key: &str) -> Option<String> {
    body.get(key).and_then(Value::as_str).map(str::to_owned)
}

impl ClusterState {
    /// The user with this login.
    pub fn find_user(&self, login: &str) -> Option<&User> {
        self.users.values().find(|user| user.is_called(login))
    }

    fn user_mut(&mut self, uid: u32) -> Result<&mut User, Refusal> {
        self.users
            .get_mut(&uid)
            .ok_or_else(|| Refusal::not_found("user_not_exist", format!("user {uid} does not exist")))
    }

    pub(super) fn apply_user(&mut self, command: UserCommand, ctx: &Context) -> Result<Value, Refusal> {
        match command {
            UserCommand::Create { body } => self.create_user(&body, ctx),
            UserCommand::Update { uid, patch } => {
                let user = self.users.get(&uid).cloned();
                let mut user =
                    user.ok_or_else(|| Refusal::not_found("user_not_exist", format!("user {uid} does not exist")))?;
                self.fill_user(&mut user, &patch, ctx)?;
                if user.uid == 1 && !self.other_admin(uid) && !self.is_admin(&user) {
                    return Err(Refusal::new(
                        406,
                        "change_last_admin_role_not_allowed",
                        "the last admin must stay one",
                    ));
                }
                let view = user.view(self, ctx.now);
                self.users.insert(uid, user);
                self.touch_databases();
                Ok(view)
            }
            UserCommand::Delete { uid } => {
                self.user_mut(uid)?;
                if !self.other_admin(uid) {
                    return Err(Refusal::new(
                        406,
                        "change_last_admin_role_not_allowed",
                        "the last admin cannot be deleted",
                    ));
                }
                self.users.remove(&uid);
                self.touch_databases();
                Ok(Value::Null)
            }
            UserCommand::Password { uid, replace, add, remove } => {
                self.change_user_password(uid, replace, add, remove, ctx)
            }
            UserCommand::Lock { uid, until } => {
                self.user_mut(uid)?.locked_until = until;
                if until.is_some() {
                    self.event(ctx, "user_locked", json!({"user_uid": uid}));
                }
                Ok(Value::Null)
            }
            UserCommand::PutRole { uid, body } => {
                let uid = self.writable(uid, 6, |state, uid| state.roles.contains_key(&uid))?;
                let old = self.roles.get(&uid);
                let name = text(&body, "name").or_else(|| old.map(|role| role.name.clone()));
                let name = name.ok_or_else(|| Refusal::new(400, "missing_field", "name is missing"))?;
                if self.roles.values().any(|role| role.name == name && role.uid != uid) {
                    return Err(Refusal::new(409, "name_already_exists", format!("a role named {name} exists")));
                }
                let management = text(&body, "management").or_else(|| old.map(|role| role.management.clone()));
                let management = management.unwrap_or_else(|| "none".to_owned());
                if !MANAGEMENT.contains(&management.as_str()) {
                    return Err(Refusal::new(400, "invalid_param", format!("{management} is not a management role")));
                }
                let role = Role { uid, name, management };
                let view = role.view();
                self.counters.role = self.counters.role.max(uid);
                self.roles.insert(uid, role);
                self.touch_databases();
                Ok(view)
            }
            UserCommand::DeleteRole { uid } => {
                self.writable(Some(uid), 6, |state, uid| state.roles.contains_key(&uid))?;
                if self.users.values().any(|user| user.role_uids.contains(&uid)) {
                    return Err(Refusal::new(406, "unsupported_resource", format!("role {uid} is in use")));
                }
                self.roles.remove(&uid);
                Ok(Value::Null)
            }
            UserCommand::PutAcl { uid, body } => {
                let uid = self.writable_acl(uid)?;
                let old = self.acls.get(&uid);
                let name = text(&body, "name").or_else(|| old.map(|acl| acl.name.clone()));
                let rule = text(&body, "acl").or_else(|| old.map(|acl| acl.acl.clone()));
                let (Some(name), Some(rule)) = (name, rule) else {
                    return Err(Refusal::new(400, "missing_field", "name or acl is missing"));
                };
                if self.acls.values().any(|acl| acl.name == name && acl.uid != uid) {
                    return Err(Refusal::new(409, "name_already_exists", format!("an ACL named {name} exists")));
                }
                let acl = Acl { uid, name, acl: rule };
                let view = acl.view();
                self.counters.acl = self.counters.acl.max(uid);
                self.acls.insert(uid, acl);
                self.touch_databases();
                Ok(view)
            }
            UserCommand::DeleteAcl { uid } => {
                self.writable_acl(Some(uid))?;
                self.acls.remove(&uid);
                self.touch_databases();
                Ok(Value::Null)
            }
        }
    }

    /// The uid to write: a new one, or one that exists and is not built in (409 otherwise).
    fn writable(&self, uid: Option<u32>, built_in: u32, exists: impl Fn(&Self, u32) -> bool) -> Result<u32, Refusal> {
        match uid {
            None => Ok(self.counters.role + 1),
            Some(uid) if uid <= built_in => {
                Err(Refusal::new(409, "unsupported_resource", "built-in objects are read-only"))
            }
            Some(uid) if !exists(self, uid) => {
                Err(Refusal::not_found("unsupported_resource", format!("{uid} does not exist")))
            }
            Some(uid) => Ok(uid),
        }
    }

    fn writable_acl(&self, uid: Option<u32>) -> Result<u32, Refusal> {
        match uid {
            None => Ok(self.counters.acl + 1),
            uid => self.writable(uid, 3, |state, uid| state.acls.contains_key(&uid)),
        }
    }

    fn create_user(&mut self, body: &Object, ctx: &Context) -> Result<Value, Refusal> {
        let mut user = User {
            uid: self.counters.user + 1,
            email: String::new(),
            name: String::new(),
            role_uids: Vec::new(),
            passwords: Vec::new(),
            password_issued: ctx.now,
            locked_until: None,
            email_alerts: false,
        };
        self.fill_user(&mut user, body, ctx)?;
        if user.passwords.is_empty() {
            return Err(Refusal::new(400, "missing_field", "password is missing"));
        }
        self.counters.user = user.uid;
        let view = user.view(self, ctx.now);
        self.users.insert(user.uid, user);
        self.touch_databases();
        Ok(view)
    }

    fn fill_user(&self, user: &mut User, body: &Object, ctx: &Context) -> Result<(), Refusal> {
        user.email = text(body, "email").unwrap_or_else(|| user.email.clone());
        user.name = text(body, "name").unwrap_or_else(|| user.name.clone());
        for (value, code) in [(&user.email, "email_already_exists"), (&user.name, "name_already_exists")] {
            if self.users.values().any(|other| other.uid != user.uid && other.is_called(value)) {
                return Err(Refusal::new(409, code, format!("a user {value} exists")));
            }
        }
        if let Some(password) = text(body, "password") {
            self.check_password(&password)?;
            user.passwords = vec![password_hash(&password)];
            user.password_issued = ctx.now;
        }
        if let Some(role) = text(body, "role") {
            let uid = MANAGEMENT.iter().zip(1u32..).find(|(name, _)| **name == role).map(|(_, uid)| uid);
            let uid = uid.or_else(|| self.roles.values().find(|one| one.management == role).map(|one| one.uid));
            user.role_uids = vec![uid.ok_or_else(|| Refusal::bad_request(format!("{role} is not a role")))?];
        }
        if let Some(uids) = body.get("role_uids").and_then(Value::as_array) {
            user.role_uids = uids.iter().filter_map(Value::as_u64).filter_map(|uid| u32::try_from(uid).ok()).collect();
            if let Some(uid) = user.role_uids.iter().find(|uid| !self.roles.contains_key(uid)) {
                return Err(Refusal::bad_request(format!("role {uid} does not exist")));
            }
        }
        if let Some(alerts) = body.get("email_alerts").and_then(Value::as_bool) {
            user.email_alerts = alerts;
        }
        Ok(())
    }

    fn check_password(&self, password: &str) -> Result<(), Refusal> {
        let complex = self.flag("password_complexity");
        let least = self.settings.get("password_min_length").and_then(Value::as_u64).unwrap_or(8);
        if complex && (password.len() as u64) < least {
            return Err(Refusal::new(400, "password_not_complex", format!("the password is shorter than {least}")));
        }
        Ok(())
    }

    fn change_user_password(
        &mut self,
        uid: u32,
        replace: bool,
        add: Option<String>,
        remove: Option<String>,
        ctx: &Context,
    ) -> Result<Value, Refusal> {
        if let Some(password) = &add {
            self.check_password(password)?;
        }
        let user = self.user_mut(uid)?;
        if let Some(password) = add.map(|password| password_hash(&password)) {
            if user.passwords.contains(&password) {
                return Err(Refusal::new(400, "new_password_same_as_current", "the password is already set"));
            }
            if replace {
                user.passwords.clear();
            }
            user.passwords.push(password);
            user.password_issued = ctx.now;
        }
        if let Some(password) = remove.map(|password| password_hash(&password)) {
            if !user.passwords.contains(&password) {
                return Err(Refusal::not_found("user_not_exist", "the user has no such password"));
            }
            if user.passwords.len() == 1 {
                return Err(Refusal::new(400, "cannot_delete_last_password", "the last password cannot be deleted"));
            }
            user.passwords.retain(|one| *one != password);
        }
        self.touch_databases();
        Ok(Value::Null)
    }

    /// Whether the user manages the cluster.
    pub fn is_admin(&self, user: &User) -> bool {
        user.role_uids.iter().filter_map(|uid| self.roles.get(uid)).any(|role| role.management == "admin")
    }

    fn other_admin(&self, uid: u32) -> bool {
        self.users.values().any(|user| user.uid != uid && self.is_admin(user))
    }

    /// Has shards read their Redis users again.
    fn touch_databases(&mut self) {
        self.bdbs.values_mut().for_each(|bdb| bdb.version += 1);
    }

    /// The Redis users of a database: name, password hashes, rule, from its `roles_permissions`.
    pub fn redis_users(&self, bdb: &super::Bdb) -> Vec<(String, Vec<String>, String)> {
        let permissions = bdb.config.get("roles_permissions").and_then(Value::as_array);
        let number =
            |permission: &Value, key: &str| permission.get(key)?.as_u64().and_then(|uid| u32::try_from(uid).ok());
        permissions
            .into_iter()
            .flatten()
            .filter_map(|one| Some((number(one, "role_uid")?, self.acls.get(&number(one, "redis_acl_uid")?)?)))
            .flat_map(|(role, acl)| {
                let holders = self.users.values().filter(move |user| user.role_uids.contains(&role));
                holders.map(|user| {
                    let name = if user.email.is_empty() { &user.name } else { &user.email };
                    (name.clone(), user.passwords.clone(), acl.acl.clone())
                })
            })
            .collect()
    }
}
