//! The routes of the Open Service Broker API, version 2.17.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Broker;
use crate::bindings::Binding;
use crate::catalog;
use crate::database::{State, check_id, state};
use crate::error::BrokerError;

type Answer = Result<Response, BrokerError>;
type Instance = Shared<Arc<Broker>>;

/// The body of a request to make an instance or a binding. Fields of the specification that mean nothing here are let pass.
#[derive(Deserialize)]
struct Wanted {
    service_id: String,
    plan_id: String,
    #[serde(default)]
    parameters: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    accepts_incomplete: bool,
}

pub(crate) fn routes(broker: Arc<Broker>) -> Router {
    let instance = put(provision).delete(deprovision).patch(update);
    let guarded = Router::new()
        .route("/v2/catalog", get(async || Json(catalog::catalog())))
        .route("/v2/service_instances/{instance}", instance)
        .route("/v2/service_instances/{instance}/last_operation", get(last_operation))
        .route("/v2/service_instances/{instance}/service_bindings/{binding}", put(bind).delete(unbind))
        .layer(from_fn_with_state(broker.clone(), guard));
    Router::new().route("/healthz", get(healthy)).merge(guarded).with_state(broker)
}

/// Who asks, and in which version.
async fn guard(Shared(broker): Instance, request: Request, next: Next) -> Response {
    if let Err(error) = broker.login.check(request.headers()) {
        return error.into_response();
    }
    let version = request.headers().get("x-broker-api-version").and_then(|value| value.to_str().ok());
    if version.is_none_or(|version| !version.starts_with("2.")) {
        return BrokerError::Version.into_response();
    }
    next.run(request).await
}

async fn healthy(Shared(broker): Instance) -> StatusCode {
    if broker.is_reachable().await { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn read(body: &[u8]) -> Result<Wanted, BrokerError> {
    serde_json::from_slice(body)
        .map_err(|error| BrokerError::Invalid(format!("the body needs service_id and plan_id, as JSON: {error}")))
}

async fn provision(
    Shared(broker): Instance,
    Path(instance): Path<String>,
    Query(asked): Query<Asked>,
    body: axum::body::Bytes,
) -> Answer {
    if !asked.accepts_incomplete {
        return Err(BrokerError::AsyncRequired);
    }
    check_id("service instance", &instance)?;
    let wanted = read(&body)?;
    let spec = catalog::database(&wanted.service_id, &wanted.plan_id, wanted.parameters.as_ref())?;
    let request = json!([wanted.service_id, wanted.plan_id, wanted.parameters]);
    let made = broker.provision(&instance, &request, spec).await?;
    if !made
        && let Some(database) = broker.find(&instance).await?
        && state(&database) == State::Succeeded
    {
        return Ok((StatusCode::OK, Json(json!({}))).into_response());
    }
    Ok((StatusCode::ACCEPTED, Json(json!({"operation": "provision"}))).into_response())
}

async fn update() -> Answer {
    Err(BrokerError::Invalid(
        "an instance is not changed through the broker; edit its RedisEnterpriseDatabase, or make another instance"
            .to_owned(),
    ))
}

async fn deprovision(Shared(broker): Instance, Path(instance): Path<String>, Query(asked): Query<Asked>) -> Answer {
    if !asked.accepts_incomplete {
        return Err(BrokerError::AsyncRequired);
    }
    let bindings = broker.bindings.of(&instance).await;
    if !bindings.is_empty() {
        return Err(BrokerError::Bound { instance, bindings: bindings.join(", ") });
    }
    broker.deprovision(&instance).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"operation": "deprovision"}))).into_response())
}

async fn last_operation(Shared(broker): Instance, Path(instance): Path<String>) -> Answer {
    let Some(database) = broker.find(&instance).await? else {
        return Err(BrokerError::Gone { what: "service instance", id: instance });
    };
    Ok(match state(&database) {
        State::InProgress(words) => Json(json!({"state": "in progress", "description": words})),
        State::Succeeded => Json(json!({"state": "succeeded"})),
        State::Failed(words) => Json(json!({"state": "failed", "description": words, "instance_usable": false})),
    }
    .into_response())
}

async fn bind(
    Shared(broker): Instance,
    Path((instance, binding)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Answer {
    check_id("binding", &binding)?;
    let wanted = read(&body)?;
    let Some(database) = broker.find(&instance).await? else {
        return Err(BrokerError::Gone { what: "service instance", id: instance });
    };
    if state(&database) != State::Succeeded {
        return Err(BrokerError::NotReady(instance));
    }
    let credentials = broker.credentials(&database).await?;
    let kept = Binding { instance, service: wanted.service_id, plan: wanted.plan_id };
    let made = broker.bindings.add(&binding, kept).await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({"credentials": credentials}))).into_response())
}

async fn unbind(Shared(broker): Instance, Path((instance, binding)): Path<(String, String)>) -> Answer {
    broker.bindings.remove(&binding, &instance).await?;
    Ok(Json(json!({})).into_response())
}
