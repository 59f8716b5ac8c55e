//! The administrator's password, changed by an edit of its Secret: the new one is added, then used, then the old one is
//! dropped. At every moment the password in force works, so that nobody is locked out.
//!
//! The password in force is kept beside the copies of other secrets, and calls are to be made with it. From there the
//! Secret itself is made again when somebody deletes it.

use std::collections::BTreeMap;

use serde::Serialize;
use stepwright_sdk::{Call, Reply, SecretValue, secret_ref};

use crate::formation::View;
use crate::seen::Seen;

const USERNAME: &str = "credentials.username";
const PASSWORD: &str = "credentials.password";
/// The password before, until it is dropped.
const PREVIOUS: &str = "credentials.previous";
/// How the host says that the cluster does not take the login in force.
const REFUSED: [&str; 2] = ["user name or password in Secret", "was refused"];
const ADD: &str = "add password";
const DROP: &str = "drop password";

#[derive(Serialize)]
struct Body {
    username: SecretValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_password: Option<SecretValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_password: Option<SecretValue>,
}

fn copy<'a>(seen: &'a Seen<'_>, key: &str) -> Option<&'a str> {
    seen.secret(&seen.in_force())?.data.get(key).map(String::as_str)
}

fn wanted<'a>(seen: &'a Seen<'_>) -> Option<&'a str> {
    seen.secret(seen.credentials())?.data.get("password").map(String::as_str)
}

fn own(seen: &Seen<'_>, key: &str) -> SecretValue {
    secret_ref(seen.in_force(), key)
}

/// The login in force, where it is known: to make the Secret again from.
pub(crate) fn known(seen: &Seen<'_>) -> Option<(SecretValue, SecretValue)> {
    let both = copy(seen, USERNAME).is_some() && copy(seen, PASSWORD).is_some();
    both.then(|| (own(seen, USERNAME), own(seen, PASSWORD)))
}

/// What the Secret of what is in force holds of this.
pub(crate) fn copies(seen: &Seen<'_>, view: &View) -> BTreeMap<String, SecretValue> {
    let mut copies = BTreeMap::new();
    let mut put = |key: &str, value: SecretValue| {
        copies.insert(key.to_owned(), value);
    };
    let Some(in_force) = copy(seen, PASSWORD) else {
        let source = seen.credentials();
        let complete = seen.secret(source).is_some_and(|secret| secret.data.contains_key("username"));
        // The cluster answers to it, so it is in force.
        if view.formed() && view.listed.is_ok() && complete && wanted(seen).is_some() {
            put(USERNAME, secret_ref(source, "username"));
            put(PASSWORD, secret_ref(source, "password"));
        }
        return copies;
    };
    put(USERNAME, own(seen, USERNAME));
    let changed = wanted(seen).is_some_and(|wanted| wanted != in_force);
    // Somebody changed it past us, so that ours can add nothing any more, and says in the Secret what it is now.
    let lost = view.listed.as_ref().err().is_some_and(|why| REFUSED.iter().all(|words| why.contains(words)));
    // One that was not dropped yet still works.
    let works = added(seen) || (changed && (lost || wanted(seen) == copy(seen, PREVIOUS)));
    if changed && works {
        put(PASSWORD, secret_ref(seen.credentials(), "password"));
        put(PREVIOUS, own(seen, PASSWORD));
        return copies;
    }
    put(PASSWORD, own(seen, PASSWORD));
    if copy(seen, PREVIOUS).is_some() && !dropped(seen) {
        put(PREVIOUS, own(seen, PREVIOUS));
    }
    copies
}

/// The next step of a change of password, in the first round of a pass in which the cluster answers.
pub(crate) fn call(seen: &Seen<'_>) -> Option<Call> {
    let in_force = copy(seen, PASSWORD)?;
    let wanted = wanted(seen)?;
    let username = own(seen, USERNAME);
    let previous = copy(seen, PREVIOUS);
    if wanted != in_force {
        let new_password = Some(secret_ref(seen.credentials(), "password"));
        let body = Body { username, new_password, old_password: None };
        return (previous != Some(wanted)).then(|| Call::post(ADD, "/v1/users/password").body(&body));
    }
    // The cluster answered to the new one by now: whoever calls it has that.
    previous.map(|_| {
        let old_password = Some(own(seen, PREVIOUS));
        Call::delete(DROP, "/v1/users/password").body(&Body { username, new_password: None, old_password })
    })
}

/// Somebody may have added it by hand before.
fn added(seen: &Seen<'_>) -> bool {
    let there = |reply: &Reply| reply.error_text().contains("new_password_same_as_current");
    seen.observed.reply(ADD).is_some_and(|reply| reply.is_success() || there(reply))
}

/// Somebody may have dropped it by hand before.
fn dropped(seen: &Seen<'_>) -> bool {
    seen.observed.reply(DROP).is_some_and(|reply| reply.is_success() || reply.status == 404)
}

/// A reply that tells of a state that was there already is no refusal.
pub(crate) fn is_settled(seen: &Seen<'_>, id: &str) -> bool {
    (id == ADD && added(seen)) || (id == DROP && dropped(seen))
}
