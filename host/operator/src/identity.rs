//! The clients through which effects are carried out: the operator's own, and one for each ServiceAccount that plugins act as.
//! Whether an account may be acted as is decided where a plugin is taken up; what it may do, by RBAC.

use std::collections::HashMap;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

use crate::slots::Identity;

const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// Makes each client once.
pub(crate) struct Clients {
    own: Client,
    others: Mutex<HashMap<Identity, Client>>,
}

impl Clients {
    pub(crate) fn new(own: Client) -> Self {
        Self { own, others: Mutex::default() }
    }

    /// The client of an account; without one, the operator's.
    pub(crate) fn of(&self, identity: Option<&Identity>) -> Client {
        let Some(identity) = identity else { return self.own.clone() };
        let mut others = self.others.lock();
        others.entry(identity.clone()).or_insert_with(|| acting_as(self.own.clone(), identity)).clone()
    }
}

/// The same connections and credentials, each request in the name of the account. The API server adds the account's groups.
fn acting_as(own: Client, identity: &Identity) -> Client {
    let namespace = own.default_namespace().to_owned();
    let user = HeaderValue::from_str(&identity.user()).ok();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let (own, user) = (own.clone(), user.clone());
        async move {
            // A name that is no header value never becomes a request of the operator's own.
            let user = user.ok_or("the account's name cannot be sent")?;
            request.headers_mut().insert(IMPERSONATE, user);
            Ok::<Response<Body>, tower::BoxError>(own.send(request).await?)
        }
    });
    Client::new(service, namespace)
}
