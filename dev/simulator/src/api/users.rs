//! Users, roles, ACLs (REST reference, 9). LDAP mappings: none exist here, and none can be made.

use serde_json::{Value, json};

use super::{Ask, Reply, auth, reply, uid, unknown};
use crate::{
    clock,
    state::{Command, Refusal, users::UserCommand},
};

pub(super) async fn route(ask: &Ask<'_>, path: &[&str]) -> Result<Reply, Refusal> {
    let state = ask.state;
    let now = clock::now();
    let body = || ask.call.object();
    let command = match (ask.call.method.as_str(), path) {
        ("GET", ["v1", "users"]) => {
            return Ok(Reply::json(state.users.values().map(|user| user.view(state, now)).collect()));
        }
        ("POST", ["v1", "users", "authorize" | "refresh_jwt"]) => {
            return auth::issue_token(state, ask.caller.uid, &Value::Object(body()?), now).map(Reply::json);
        }
        (method @ ("PUT" | "POST" | "DELETE"), ["v1", "users", "password"]) => password(ask, method)?,
        ("GET", ["v1", "users", id]) => {
            let user = state.users.get(&uid(id)?);
            let user = user.ok_or_else(|| Refusal::not_found("user_not_exist", format!("user {id} does not exist")))?;
            return Ok(Reply::json(user.view(state, now)));
        }
        ("POST", ["v1", "users"]) => UserCommand::Create { body: body()? },
        ("PUT", ["v1", "users", id]) => UserCommand::Update { uid: uid(id)?, patch: body()? },
        ("DELETE", ["v1", "users", id]) => UserCommand::Delete { uid: uid(id)? },
        ("GET", ["v1", "roles"]) => return Ok(Reply::json(state.roles.values().map(|role| role.view()).collect())),
        ("GET", ["v1", "roles", id]) => {
            let role = state.roles.get(&uid(id)?);
            return role
                .map(|role| Reply::json(role.view()))
                .ok_or_else(|| Refusal::not_found("role_not_exist", (*id).to_owned()));
        }
        ("POST", ["v1", "roles"]) => UserCommand::PutRole { uid: None, body: body()? },
        ("PUT", ["v1", "roles", id]) => UserCommand::PutRole { uid: Some(uid(id)?), body: body()? },
        ("DELETE", ["v1", "roles", id]) => UserCommand::DeleteRole { uid: uid(id)? },
        ("GET", ["v1", "redis_acls"]) => return Ok(Reply::json(state.acls.values().map(|acl| acl.view()).collect())),
        ("GET", ["v1", "redis_acls", id]) => {
            let acl = state.acls.get(&uid(id)?);
            return acl
                .map(|acl| Reply::json(acl.view()))
                .ok_or_else(|| Refusal::not_found("acl_not_exist", (*id).to_owned()));
        }
        ("POST", ["v1", "redis_acls"]) => UserCommand::PutAcl { uid: None, body: body()? },
        ("PUT", ["v1", "redis_acls", id]) => UserCommand::PutAcl { uid: Some(uid(id)?), body: body()? },
        ("DELETE", ["v1", "redis_acls", id]) => UserCommand::DeleteAcl { uid: uid(id)? },
        ("GET", ["v1", "ldap_mappings"]) => return Ok(Reply::json(json!([]))),
        _ => return Err(unknown(ask.call)),
    };
    ask.change(Command::User(command)).await.map(reply)
}

/// PUT sets, POST adds, DELETE removes; without `username` it is the caller's own.
fn password(ask: &Ask<'_>, method: &str) -> Result<UserCommand, Refusal> {
    let body = ask.call.object()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let uid = match text("username") {
        Some(name) => {
            let user = ask.state.find_user(&name);
            user.ok_or_else(|| Refusal::not_found("user_not_exist", format!("user {name} does not exist")))?.uid
        }
        None => ask.caller.uid,
    };
    let manages = ask.caller.roles.iter().any(|role| role == "admin" || role == "user_manager");
    if uid != ask.caller.uid && !manages {
        return Err(Refusal::new(403, "unauthorized_action", "only an administrator changes the password of others"));
    }
    let missing = |key: &str| Refusal::bad_request(format!("{key} is missing"));
    let command = |replace: bool, add: Option<String>, remove: Option<String>| UserCommand::Password {
        uid,
        replace,
        add,
        remove,
    };
    match method {
        "PUT" => Ok(command(true, Some(text("new_password").ok_or_else(|| missing("new_password"))?), None)),
        "POST" => Ok(command(false, Some(text("new_password").ok_or_else(|| missing("new_password"))?), None)),
        _ => Ok(command(false, None, Some(text("old_password").ok_or_else(|| missing("old_password"))?))),
    }
}
