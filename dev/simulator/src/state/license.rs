//! The license: a trial, or a text (REST reference, 4.3). Nothing is verified; real texts cannot be read here.
//!
//! A text between the usual dashes whose content is base64 of a JSON object
//! `{"shards_limit":8,"expires_in_days":30,"cluster_name":"…","owner":"…"}` is obeyed. Any other text is accepted
//! as a license for a year and many shards.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Refusal;
use crate::clock::{Millis, iso};

const DAY_MS: u64 = 86_400_000;
const START: &str = "----- LICENSE START -----";
const END: &str = "----- LICENSE END -----";

/// A license as the cluster holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct License {
    /// As given; empty for the trial.
    pub text: String,
    /// The cluster it is for, if it says so.
    pub cluster_name: Option<String>,
    /// Owner, if it says so.
    pub owner: Option<String>,
    /// Shards allowed, replicas included.
    pub shards_limit: u64,
    /// Since when.
    pub activated: Millis,
    /// Until when.
    pub expires: Millis,
    /// Whether it is the trial.
    pub trial: bool,
}

#[derive(Deserialize)]
struct Issued {
    shards_limit: Option<u64>,
    expires_in_days: Option<i64>,
    cluster_name: Option<String>,
    owner: Option<String>,
}

impl License {
    /// Four shards for thirty days.
    pub fn trial(now: Millis) -> Self {
        Self {
            text: String::new(),
            cluster_name: None,
            owner: None,
            shards_limit: 4,
            activated: now,
            expires: now + 30 * DAY_MS,
            trial: true,
        }
    }

    /// Reads a license text. One that is for another cluster, or has expired, is refused.
    pub fn parse(text: &str, cluster: &str, now: Millis) -> Result<Self, Refusal> {
        let refuse = |why: &str| Refusal::new(406, "invalid_license", why);
        let content = text
            .split_once(START)
            .and_then(|(_, rest)| rest.split_once(END))
            .map(|(content, _)| content.split_whitespace().collect::<String>())
            .ok_or_else(|| refuse("the license text has no start or no end"))?;
        let issued = BASE64_STANDARD.decode(content).ok().and_then(|json| serde_json::from_slice::<Issued>(&json).ok());
        let issued =
            issued.unwrap_or(Issued { shards_limit: None, expires_in_days: None, cluster_name: None, owner: None });
        if issued.cluster_name.as_deref().is_some_and(|name| name != cluster) {
            return Err(refuse("the license is for another cluster"));
        }
        let days = u64::try_from(issued.expires_in_days.unwrap_or(365)).unwrap_or(0);
        if days == 0 {
            return Err(refuse("the license has expired"));
        }
        Ok(Self {
            text: text.to_owned(),
            cluster_name: issued.cluster_name,
            owner: issued.owner,
            shards_limit: issued.shards_limit.unwrap_or(10_000),
            activated: now,
            expires: now + days * DAY_MS,
            trial: false,
        })
    }

    /// Whether it has run out.
    pub fn expired(&self, now: Millis) -> bool {
        now >= self.expires
    }

    /// As `GET /v1/license` shows it, nulls as recorded.
    pub fn view(&self, in_use: usize, now: Millis, forced_expiry: bool) -> Value {
        json!({
            "license": self.text, "cluster_name": self.cluster_name, "owner": self.owner, "key": "",
            "expired": forced_expiry || self.expired(now),
            "activation_date": iso(self.activated),
            "expiration_date": iso(if forced_expiry { self.expires.min(now) } else { self.expires }),
            "shards_limit": self.shards_limit, "ram_shards_limit": null, "ram_shards_in_use": in_use,
            "flash_shards_limit": null, "flash_shards_in_use": 0,
            "features": if self.trial { json!(["trial", "bigstore"]) } else { json!(["bigstore"]) },
        })
    }
}
