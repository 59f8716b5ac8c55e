//! The discovery service: the Sentinel protocol, as far as clients use it to find a database (REST reference, 14).
//!
//! Plain TCP only. The names with `@internal` are the same addresses here.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    node::{Node, NodeError},
    resp::{bulk, read_request},
    serve,
    state::{Bdb, ClusterState},
};

/// Opens port 8001.
pub async fn listen(node: &Arc<Node>, tasks: &mut JoinSet<()>) -> Result<(), NodeError> {
    let listener = serve::bind(node, 8001).await?;
    let node = Arc::clone(node);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let node = Arc::clone(&node);
                    connections.spawn(async move { let _ = converse(&node, stream).await; });
                }
            }
        }
    });
    Ok(())
}

async fn converse(node: &Node, stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(words) = read_request(&mut stream).await? {
        let words: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        stream.get_mut().write_all(&answer(node, &words)).await?;
    }
    Ok(())
}

fn answer(node: &Node, words: &[&str]) -> Vec<u8> {
    let snapshot = node.snapshot();
    let command: Vec<String> = words.iter().take(2).map(|word| word.to_lowercase()).collect();
    match (command.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &snapshot) {
        (["ping", ..], _) => b"+PONG\r\n".to_vec(),
        (["sentinel", "masters"], Some(snapshot)) => {
            let state = &snapshot.state;
            let masters: Vec<Vec<u8>> = state.bdbs.values().filter_map(|bdb| master(state, bdb)).collect();
            array(&masters)
        }
        (["sentinel", "get-master-addr-by-name"], Some(snapshot)) => {
            let name = words.get(2).copied().unwrap_or_default();
            let name = name.strip_suffix("@internal").unwrap_or(name);
            let state = &snapshot.state;
            let place = state.bdbs.values().find(|bdb| bdb.name() == name).and_then(|bdb| place(state, bdb));
            place.map_or_else(
                || b"*-1\r\n".to_vec(),
                |(host, port)| array(&[bulk(host.as_bytes()), bulk(port.as_bytes())]),
            )
        }
        (["sentinel", "sentinels" | "slaves" | "replicas"], Some(_)) => b"*0\r\n".to_vec(),
        (["sentinel", ..], None) => b"-ERR the node is not in a cluster\r\n".to_vec(),
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}

fn place(state: &ClusterState, bdb: &Bdb) -> Option<(String, String)> {
    let node = bdb.endpoint.nodes.iter().find_map(|uid| state.nodes.get(uid))?;
    Some((node.addr.clone(), bdb.endpoint.port.to_string()))
}

fn master(state: &ClusterState, bdb: &Bdb) -> Option<Vec<u8>> {
    let (host, port) = place(state, bdb)?;
    let fields = ["name", bdb.name(), "ip", &host, "port", &port, "flags", "master", "num-other-sentinels", "0"];
    Some(array(&fields.map(|field| bulk(field.as_bytes()))))
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", items.len()).into_bytes();
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}
