//! Places for files: a folder, and a store that speaks S3 (REST reference, 6.2, `backup_location`).
//!
//! The other types of the product are known and not reachable here. S3 is spoken over plain HTTP, at the `s3_url` of the
//! cluster's settings.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use serde_json::Value;

use super::Trouble;
use crate::{
    node::Node,
    rest_client::{self, Target},
};

/// A signature is good for so long.
const SIGNATURE: Duration = Duration::from_secs(600);

/// An exchange with a store may take so long.
const EXCHANGE: Duration = Duration::from_secs(60);

fn text<'a>(place: &'a Value, key: &str) -> &'a str {
    place.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Writes a file, compressed as the product does it.
pub(super) async fn write(node: &Node, place: &Value, name: &str, bytes: &[u8], s3: &str) -> Result<(), Trouble> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).map_err(Trouble::general)?;
    let packed = packed.finish().map_err(Trouble::general)?;
    match text(place, "type") {
        "mount_point" => {
            let folder = folder(node, text(place, "path"));
            // A folder that is not there is not made: it would be one of the container, not the one that was mounted.
            let part = folder.join(format!(".{name}.part"));
            std::fs::write(&part, packed).and_then(|()| std::fs::rename(&part, folder.join(name))).map_err(of_folder)
        }
        "s3" => {
            let (bucket, key) = bucket(place, s3)?;
            let object = object(place, name);
            let url = bucket.put_object(Some(&key), &object).sign(SIGNATURE);
            exchange("PUT", &url, packed).await.map(|_| ())
        }
        other => Err(Trouble::general(format!("the simulator reaches no place of type {other:?}"))),
    }
}

/// Reads a file; one that is compressed is unpacked.
pub(super) async fn read(node: &Node, place: &Value, s3: &str) -> Result<Vec<u8>, Trouble> {
    let name = text(place, "filename");
    let bytes = match text(place, "type") {
        "mount_point" => {
            let path = folder(node, text(place, "path"));
            let path = if name.is_empty() { path } else { path.join(name) };
            std::fs::read(&path)
                .map_err(|error| Trouble::new("download-error", format!("{}: {error}", path.display())))?
        }
        "s3" => {
            let (bucket, key) = bucket(place, s3)?;
            let object = object(place, name);
            let url = bucket.get_object(Some(&key), &object).sign(SIGNATURE);
            let answer = exchange("GET", &url, Vec::new()).await;
            answer.map_err(|trouble| Trouble::new("download-error", trouble))?
        }
        other => {
            return Err(Trouble::new("download-error", format!("the simulator reaches no place of type {other:?}")));
        }
    };
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .map_err(|error| Trouble::new("file-corrupted", format!("it cannot be unpacked: {error}")))?;
    Ok(plain)
}

/// A path of the container is below its root, where the node has one.
fn folder(node: &Node, path: &str) -> PathBuf {
    match &node.settings.root {
        Some(root) => root.join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path))),
        None => PathBuf::from(path),
    }
}

fn of_folder(error: io::Error) -> Trouble {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "no-permission",
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "wrong-file-path",
        _ => "general-error",
    };
    Trouble::new(reason, error)
}

fn bucket(place: &Value, s3: &str) -> Result<(Bucket, Credentials), Trouble> {
    let endpoint = s3.parse().map_err(|error| Trouble::general(format!("s3_url {s3:?} is no address: {error}")))?;
    let region = Some(text(place, "region_name")).filter(|region| !region.is_empty()).unwrap_or("us-east-1");
    let bucket = Bucket::new(endpoint, UrlStyle::Path, text(place, "bucket_name").to_owned(), region.to_owned())
        .map_err(Trouble::general)?;
    Ok((bucket, Credentials::new(text(place, "access_key_id"), text(place, "secret_access_key"))))
}

fn object(place: &Value, name: &str) -> String {
    match text(place, "subdir").trim_matches('/') {
        "" => name.to_owned(),
        subdir => format!("{subdir}/{name}"),
    }
}

async fn exchange(method: &str, url: &url::Url, body: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err(Trouble::general(format!(
            "the simulator reaches stores over plain HTTP only, not {}",
            url.origin().ascii_serialization()
        )));
    };
    let target = Target::plain(host, url.port_or_known_default().unwrap_or(80));
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let sent = tokio::time::timeout(EXCHANGE, rest_client::send(&target, method, &path, &[], body)).await;
    let answer = sent.map_err(|_| Trouble::general("the store does not answer"))?.map_err(Trouble::general)?;
    match answer.status {
        200..=299 => Ok(answer.body.to_vec()),
        401 | 403 => Err(Trouble::new("no-permission", format!("the store answers {}", answer.status))),
        404 => Err(Trouble::new("wrong-file-path", "the store has no such bucket or object")),
        status => Err(Trouble::general(format!("the store answers {status}"))),
    }
}
