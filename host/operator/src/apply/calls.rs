//! Calls to the managed system, their secrets filled in at the last moment.

use serde_json::{Value, json};
use stepwright_core::admit::AdmittedPlan;
use stepwright_core::journal::Effect;
use stepwright_core::observation::Reply;
use stepwright_core::plan::Call;
use stepwright_core::secrets;
use tracing::info;

use super::{Done, Primary};
use crate::context::Context;
use crate::error::PassError;
use crate::system::{ResolvedCall, SystemId};

/// Sends the calls of a plan, in order. A call that fails is a reply like any other: the step decides what it means.
pub(crate) async fn calls(
    context: &Context,
    primary: &Primary,
    system: Option<&SystemId>,
    plan: &AdmittedPlan,
    done: &mut Done,
) -> Result<(), PassError> {
    for call in plan.calls() {
        context.check_may_act(primary.namespace())?;
        let Some(system) = system else {
            let body = json!("the managed system of this object is not known").to_string();
            done.replies.push(Reply { id: call.id.clone(), status: 0, body });
            continue;
        };
        let shown = format!("{} {}", call.method, call.path);
        let namespace = |secret: &str| {
            if plan.system_secrets().contains(secret) { system.namespace.as_str() } else { primary.namespace() }
        };
        let body = call.body.as_deref().map(|text| filled(context, &namespace, call, text)).transpose()?;
        let resolved = ResolvedCall {
            id: call.id.clone(),
            target: call.target.clone(),
            method: call.method.clone(),
            path: call.path.clone(),
            body,
        };
        let reply = context.system.call(system, resolved).await;
        info!(call = %shown, target = call.target.as_deref().unwrap_or("-"), status = reply.status,
            "called the managed system");
        context.metrics.call(&call.method, reply.status);
        // The body is in the plan's record, with its directives as the step wrote them.
        let status = Some(reply.status);
        done.effects.push(Effect { verb: "call".to_owned(), on: shown, field: None, status, error: None });
        done.replies.push(reply);
    }
    Ok(())
}

/// `namespace` says where a Secret is, by its name.
fn filled<'a>(
    context: &Context,
    namespace: &dyn Fn(&str) -> &'a str,
    call: &Call,
    text: &str,
) -> Result<String, PassError> {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let filled = secrets::resolve(value, &mut |directive| match directive {
        secrets::Directive::SecretKeyRef(reference) => {
            context.secret_value(namespace(&reference.name), &reference.name, &reference.key)
        }
        secrets::Directive::Generate(_) => Err(secrets::SecretError::GenerateOutsideSecret),
    });
    let refused = |error: secrets::SecretError| PassError::Secret {
        object: format!("call {} {}", call.method, call.path),
        message: error.to_string(),
    };
    Ok(filled.map_err(refused)?.to_string())
}
