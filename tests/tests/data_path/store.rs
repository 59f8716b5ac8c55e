//! A store that speaks as much S3 as backups need: objects are put and got, and who asks must have signed with the right key.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// The store. What it holds goes with the process; its thread waits for clients until then.
pub(crate) struct Store {
    objects: Objects,
    port: u16,
}

impl Store {
    /// Takes requests that this key signed, for this bucket.
    pub(crate) fn start(key: &'static str, bucket: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let objects = Objects::default();
        let kept = objects.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One that breaks off leaves the next one alone.
                let _ = serve(stream, &kept, key, bucket);
            }
        });
        Self { objects, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Names of the objects, with the bucket's in front.
    pub(crate) fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

fn serve(stream: TcpStream, objects: &Objects, key: &str, bucket: &str) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let signed = query.contains("X-Amz-Signature=") && query.contains(&format!("X-Amz-Credential={key}%2F"));
    let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, body) = match (signed, path.starts_with(&format!("/{bucket}/")), method) {
        (false, ..) => (403, Vec::new()),
        (true, false, _) => (404, Vec::new()),
        (true, true, "PUT") => {
            objects.insert(path.to_owned(), body);
            (200, Vec::new())
        }
        _ => objects.get(path).map_or((404, Vec::new()), |object| (200, object.clone())),
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().write_all(&body)
}
