//! Who asks, and may they: Basic, access tokens, the lockout, and the management roles (REST reference, 1.4 and 1.6).

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{Call, Reply};
use crate::{
    clock::{self, Millis},
    faults::Kind,
    node::{Node, Snapshot},
    peers,
    state::{ClusterState, Command, Refusal, digest, password_hash, users::UserCommand},
};

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user; 0 for the node itself.
    pub uid: u32,
    /// Management roles.
    pub roles: Vec<String>,
    /// Whether this is the local `rladmin` or another node.
    pub root: bool,
}

impl Caller {
    /// One who may do everything.
    pub fn root() -> Self {
        Self { uid: 0, roles: vec!["admin".to_owned()], root: true }
    }

    fn user(state: &ClusterState, uid: u32) -> Self {
        let roles = state.users.get(&uid).into_iter().flat_map(|user| &user.role_uids);
        Self {
            uid,
            roles: roles.filter_map(|role| state.roles.get(role)).map(|role| role.management.clone()).collect(),
            root: false,
        }
    }

    /// Whether the user is an administrator.
    pub(super) fn is_admin(&self) -> bool {
        self.has(&["admin"])
    }

    fn has(&self, roles: &[&str]) -> bool {
        self.roles.iter().any(|role| roles.contains(&role.as_str()))
    }

    /// Whether the roles allow the request.
    pub fn permitted(&self, call: &Call) -> Result<(), Refusal> {
        let section = call.path.get(1).map_or("", String::as_str);
        let allowed = match (call.reads(), section) {
            (true, _) => self.roles.iter().any(|role| role != "none"),
            (false, "bdbs" | "crdbs" | "crdb_tasks") => self.has(&["admin", "cluster_member", "db_member"]),
            (false, "shards") => self.has(&["admin", "cluster_member", "db_member"]),
            // Everybody may change their own password and get a token; the handler looks closer.
            (false, "users")
                if matches!(call.path.get(2).map(String::as_str), Some("password" | "authorize" | "refresh_jwt")) =>
            {
                true
            }
            (false, "users" | "roles" | "redis_acls" | "ldap_mappings" | "license") => {
                self.has(&["admin", "user_manager"])
            }
            (false, _) => self.has(&["admin"]),
        };
        if allowed { Ok(()) } else { Err(Refusal::new(403, "forbidden", "the user's role does not permit this")) }
    }
}

/// What a login comes to.
enum Login {
    Welcome(u32),
    Wrong(Option<u32>),
    Locked,
}

fn login(state: &ClusterState, name: &str, password: &str, now: Millis) -> Login {
    match state.find_user(name) {
        None => Login::Wrong(None),
        Some(user) if user.locked(now) => Login::Locked,
        Some(user) if user.passwords.contains(&password_hash(password)) => Login::Welcome(user.uid),
        Some(user) => Login::Wrong(Some(user.uid)),
    }
}

/// Whether these are an admin's credentials, for a node that wants to join.
pub(super) fn is_admin(state: &ClusterState, name: &str, password: &str) -> bool {
    matches!(login(state, name, password, clock::now()), Login::Welcome(uid) if Caller::user(state, uid).has(&["admin"]))
}

/// The caller, or the 401.
pub(super) async fn caller(node: &Node, call: &Call, snapshot: &Snapshot) -> Result<Caller, Reply> {
    let state = &snapshot.state;
    let denied = || {
        let mut reply = Reply::html(401, "<html><h1>401 Authorization Required</h1></html>".to_owned());
        reply.headers.push(("www-authenticate", format!("Basic realm=\"{}\"", state.name)));
        reply
    };
    let header = call.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(token) = header.strip_prefix("Bearer ") {
        if token.strip_prefix("rladmin:").is_some_and(|token| token == node.rladmin_token) {
            return Ok(Caller::root());
        }
        return check_token(state, token, clock::now()).map(|uid| Caller::user(state, uid)).ok_or_else(denied);
    }
    let text = header.strip_prefix("Basic ").and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((name, password)) = text.as_deref().and_then(|text| text.split_once(':')) else { return Err(denied()) };
    if node.faults.strikes(&Kind::RefuseLogins) || !state.flag("control_plane_basic_authentication") {
        return Err(denied());
    }
    match login(state, name, password, clock::now()) {
        Login::Welcome(uid) => Ok(Caller::user(state, uid)),
        Login::Locked => Err(denied()),
        Login::Wrong(user) => {
            if let Some(user) = user {
                report_wrong_login(node, user).await;
            }
            Err(denied())
        }
    }
}

/// Wrong passwords are counted on the master, so that five are five wherever they were tried.
async fn report_wrong_login(node: &Node, user: u32) {
    let (leads, leader) = {
        let core = node.core.lock();
        (core.leads(), core.known_master(node.settings.election_timeout() * 2))
    };
    match leader {
        _ if leads => count_wrong_login(node, user).await,
        Some((_, address)) => {
            let _ =
                peers::ask::<_, bool>(&address, "/peer/wrong-login", &user, std::time::Duration::from_secs(2)).await;
        }
        None => {}
    }
}

/// Counts one on the master; locks the user at the threshold.
pub(super) async fn count_wrong_login(node: &Node, user: u32) {
    let Some(snapshot) = node.snapshot() else { return };
    let state = &snapshot.state;
    let now = clock::now();
    let window = state.policy_number("login_lockout_counter_reset_after", 900) * 1000;
    let threshold = state.policy_number("login_lockout_threshold", 5);
    let duration = state.policy_number("login_lockout_duration", 1800) * 1000;
    let count = {
        let mut wrong = node.wrong_logins.lock();
        let times = wrong.entry(user).or_default();
        times.retain(|time| time + window > now);
        times.push(now);
        times.len() as u64
    };
    if threshold > 0 && count >= threshold {
        // 0 = until an administrator unlocks.
        let until = if duration == 0 { Millis::MAX } else { now + duration };
        let locked = node.propose_one(Command::User(UserCommand::Lock { uid: user, until: Some(until) })).await;
        if locked.is_ok() {
            node.wrong_logins.lock().remove(&user);
        }
    }
}

/// `POST /v1/users/authorize`: a token that every node can check.
pub(super) fn issue_token(state: &ClusterState, uid: u32, body: &Value, now: Millis) -> Result<Value, Refusal> {
    let ttl = body.get("ttl").and_then(Value::as_u64).unwrap_or(300);
    if !(1..=86_400).contains(&ttl) {
        return Err(Refusal::bad_request("ttl is 1 to 86400 seconds"));
    }
    let claim = BASE64_URL_SAFE_NO_PAD.encode(json!({"sub": uid, "exp": now / 1000 + ttl}).to_string());
    let seal = digest(&[&state.secret, "token", &claim]);
    Ok(json!({"access_token": format!("{claim}.{seal}")}))
}

fn check_token(state: &ClusterState, token: &str, now: Millis) -> Option<u32> {
    let (claim, seal) = token.split_once('.')?;
    if digest(&[&state.secret, "token", claim]) != seal {
        return None;
    }
    let claim: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claim).ok()?).ok()?;
    let valid = claim.get("exp")?.as_u64()? > now / 1000;
    let uid = u32::try_from(claim.get("sub")?.as_u64()?).ok()?;
    state.users.get(&uid).filter(|user| valid && !user.locked(now)).map(|user| user.uid)
}
