//! Where backups go (reference, 1.5 and 3.17; REST reference, 6.2, `backup_location`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwright_sdk::{SecretValue, plain};

use crate::hidden::Hidden;
use crate::seen::Seen;
use crate::settings::Bdb;
use crate::spec::{Spec, said};

pub(crate) const LOCATION: &str = "backup_location";
/// A day, when the spec says nothing.
pub(crate) const INTERVAL: i64 = 86_400;
/// The only intervals that may start at a chosen time.
pub(crate) const WITH_OFFSET: [i64; 2] = [86_400, 43_200];

/// A place that is wanted.
#[derive(Serialize)]
pub(crate) struct Location {
    #[serde(rename = "type")]
    type_: &'static str,
    #[serde(flatten)]
    fields: BTreeMap<&'static str, SecretValue>,
    #[serde(skip)]
    pub(crate) hidden: Vec<Hidden>,
    /// Where the spec names the Secret.
    #[serde(skip)]
    field: &'static str,
}

/// A place as the cluster shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Shown(BTreeMap<String, Word>);

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Shown {
    fn text(&self, field: &str) -> &str {
        match self.0.get(field) {
            Some(Word::Text(text)) => text,
            Some(Word::Other(_)) | None => "",
        }
    }
}

impl Location {
    fn new(type_: &'static str, field: &'static str) -> Self {
        Self { type_, fields: BTreeMap::new(), hidden: Vec::new(), field }
    }

    fn plain(mut self, field: &'static str, value: &str) -> Self {
        self.fields.insert(field, plain(value));
        self
    }

    fn maybe(self, field: &'static str, value: Option<&String>) -> Self {
        match said(value) {
            Some(value) => self.plain(field, value),
            None => self,
        }
    }

    fn hidden(mut self, field: &'static str, secret: &str, key: &'static str) -> Self {
        let hidden = Hidden { of: LOCATION, secret: secret.to_owned(), key };
        self.fields.insert(field, hidden.value());
        self.hidden.push(hidden);
        self
    }

    /// The place that the spec names; `None` without one that the API knows.
    pub(crate) fn of(spec: &Spec) -> Option<Self> {
        let backup = spec.backup.as_ref()?;
        if let Some(it) = &backup.s3 {
            let place = Self::new("s3", "spec.backup.s3.awsSecretName")
                .plain("bucket_name", &it.bucket_name)
                .maybe("subdir", it.subdir.as_ref())
                .maybe("region_name", it.region_name.as_ref());
            let place = place.hidden("access_key_id", &it.aws_secret_name, "AWS_ACCESS_KEY_ID");
            return Some(place.hidden("secret_access_key", &it.aws_secret_name, "AWS_SECRET_ACCESS_KEY"));
        }
        if let Some(it) = &backup.abs {
            let place = Self::new("abs", "spec.backup.abs.absSecretName")
                .plain("container", &it.container)
                .maybe("subdir", it.subdir.as_ref())
                .hidden("account_name", &it.abs_secret_name, "AccountName");
            return Some(place.hidden("account_key", &it.abs_secret_name, "AccountKey"));
        }
        if let Some(it) = &backup.gcs {
            let keys = [
                ("client_id", "CLIENT_ID"),
                ("client_email", "CLIENT_EMAIL"),
                ("private_key", "PRIVATE_KEY"),
                ("private_key_id", "PRIVATE_KEY_ID"),
            ];
            let place = Self::new("gs", "spec.backup.gcs.gcsSecretName")
                .plain("bucket_name", &it.bucket_name)
                .maybe("subdir", it.subdir.as_ref());
            return Some(
                keys.into_iter().fold(place, |place, (field, key)| place.hidden(field, &it.gcs_secret_name, key)),
            );
        }
        if let Some(it) = &backup.sftp {
            let place = Self::new("sftp", "spec.backup.sftp.sftpSecretName").plain("sftp_url", &it.sftp_url);
            return Some(place.hidden("key", &it.secret_name, "Key"));
        }
        if let Some(it) = &backup.ftp {
            return Some(Self::new("url", "spec.backup.ftp").plain("url", &it.url));
        }
        backup.mount.as_ref().map(|it| Self::new("mount_point", "spec.backup.mount").plain("path", &it.path))
    }

    /// Why the cluster cannot be told of it yet.
    pub(crate) fn missing(&self, seen: &Seen<'_>) -> Option<String> {
        self.hidden.iter().find_map(|hidden| hidden.missing(seen, self.field))
    }

    pub(crate) fn differs(&self, seen: &Seen<'_>, bdb: &Bdb) -> bool {
        let Some(shown) = &bdb.backup_location else { return true };
        let plain = |field: &str| match self.fields.get(field) {
            Some(SecretValue::Plain(text)) => text.as_str(),
            _ => "",
        };
        let mine = ["bucket_name", "subdir", "region_name", "container", "path"];
        let addresses = ["url", "sftp_url"];
        // A password inside of an address is shown as something else, so only a new spec tells that it changed.
        let may_be_new = addresses.iter().any(|field| plain(field).contains('@')) && seen.spec_is_new();
        shown.text("type") != self.type_
            || mine.iter().any(|field| shown.text(field) != plain(field))
            || addresses.iter().any(|field| without_user(shown.text(field)) != without_user(plain(field)))
            || may_be_new
            || self.hidden.iter().any(|hidden| hidden.is_new(seen))
    }
}

fn without_user(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => address.to_owned(),
    }
}

/// Rules of the spec (reference, 3.3).
pub(crate) fn rules(spec: &Spec, check: &mut dyn FnMut(bool, &str, String)) {
    let Some(backup) = &spec.backup else { return };
    let places = [
        backup.s3.is_some(),
        backup.abs.is_some(),
        backup.gcs.is_some(),
        backup.sftp.is_some(),
        backup.swift.is_some(),
        backup.ftp.is_some(),
        backup.mount.is_some(),
    ];
    let named = places.into_iter().filter(|place| *place).count();
    let text = format!("must name one of s3, abs, gcs, sftp, swift, ftp and mount; it names {named}");
    check(named == 1, "spec.backup", text);
    let interval = backup.interval.unwrap_or(INTERVAL);
    let Some(offset) = backup.interval_offset else { return };
    check(
        WITH_OFFSET.contains(&interval),
        "spec.backup.intervalOffset",
        format!("needs an interval of 86400 or 43200 seconds; it is {interval}: set that, or remove the offset"),
    );
    check(
        (0..interval).contains(&offset),
        "spec.backup.intervalOffset",
        format!("must be from 0 to less than the interval, which is {interval} seconds; it is {offset}"),
    );
}
