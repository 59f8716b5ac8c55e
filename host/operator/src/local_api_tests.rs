use stepwright_core::journal::FORMAT;
use stepwright_core::object::ObjectRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn record(number: u64, name: &str) -> PassRecord {
    PassRecord {
        number,
        primary: ObjectRef {
            api_version: "test/v1".to_owned(),
            kind: "Thing".to_owned(),
            namespace: Some("ns".to_owned()),
            name: name.to_owned(),
        },
        uid: String::new(),
        generation: 1,
        started: String::new(),
        micros: 0,
        outcome: "settled".to_owned(),
        message: None,
        steps: vec![],
    }
}

/// Serves a journal of three passes on a socket for as long as the test runs.
async fn served() -> SocketAddr {
    let journal = Arc::new(Journal::default());
    for (number, name) in [(1, "a"), (2, "b"), (3, "a")] {
        journal.push(record(number, name));
    }
    let view = json!({"plugins": [{"configMap": "mine", "rehearsal": {"passes": 3}}, {"configMap": "new"}]});
    let header =
        Header { format: FORMAT, host: "0.1.0".to_owned(), contract: "0.1.0".to_owned(), exported: String::new() };
    let api = LocalApi { journal, plugins: Arc::new(move || view.clone()), header };
    let listener = tokio::net::TcpListener::bind(address(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes(api)).await });
    address
}

/// Status and body of an answer to a request with this first line and these headers.
async fn ask(address: SocketAddr, head: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("access-control-"), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost:8081")).await;
    (status, serde_json::from_str(&body).unwrap())
}

fn numbers(answer: &Value) -> Vec<u64> {
    answer.as_array().unwrap().iter().map(|it| it["number"].as_u64().unwrap()).collect()
}

#[test]
fn it_is_served_on_loopback_whatever_is_wished() {
    for (wished, served) in
        [("0.0.0.0", "127.0.0.1"), ("10.1.2.3", "127.0.0.1"), ("::", "127.0.0.1"), ("127.1.0.9", "127.1.0.9")]
    {
        assert_eq!(address(wished.parse().unwrap(), 1).ip().to_string(), served);
    }
}

#[tokio::test]
async fn passes_are_found_by_primary_the_newest_first() {
    let address = served().await;
    assert_eq!(numbers(&get(address, "/v1/passes").await.1), [3, 2, 1]);
    assert_eq!(numbers(&get(address, "/v1/passes?kind=Thing&namespace=ns&name=a").await.1), [3, 1]);
    assert_eq!(numbers(&get(address, "/v1/passes?name=a&limit=1").await.1), [3]);
    assert!(numbers(&get(address, "/v1/passes?namespace=other").await.1).is_empty());
    assert_eq!(get(address, "/v1/passes/2").await.1["primary"]["name"], "b");
    assert_eq!(get(address, "/v1/passes/9").await.0, 404);
    assert_eq!(get(address, "/v1/passes/x").await.1["reason"], "NoSuchPass");
    assert_eq!(get(address, "/v1/passes?nmae=a").await.1["reason"], "Malformed");
}

#[tokio::test]
async fn a_journal_is_a_header_and_a_record_a_line_the_newest_last() {
    let address = served().await;
    // HTTP/1.0, so that the body comes without chunks.
    let (status, body) = ask(address, "GET /v1/journal?name=a HTTP/1.0\r\nHost: 127.0.0.1").await;
    assert_eq!(status, 200);
    let lines: Vec<&str> = body.lines().collect();
    let header: Header = serde_json::from_str(lines[0]).unwrap();
    assert!(header.format == FORMAT && header.exported.ends_with('Z'));
    let numbers: Vec<u64> =
        lines[1..].iter().map(|line| serde_json::from_str::<PassRecord>(line).unwrap().number).collect();
    assert_eq!(numbers, [1, 3]);
}

#[tokio::test]
async fn plugins_and_rehearsals_are_those_of_the_view() {
    let address = served().await;
    assert_eq!(get(address, "/v1/plugins").await.1["plugins"][0]["configMap"], "mine");
    assert_eq!(get(address, "/v1/plugins/mine/rehearsal").await.1["passes"], 3);
    assert_eq!(get(address, "/v1/plugins/new/rehearsal").await.1["reason"], "NotRehearsed");
    assert_eq!(get(address, "/v1/plugins/other/rehearsal").await.1["reason"], "NoSuchPlugin");
}

#[tokio::test]
async fn only_reading_by_a_name_of_loopback_is_answered() {
    let address = served().await;
    for host in ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "127.9.9.9", "[::1]:8081"] {
        assert_eq!(ask(address, &format!("GET /v1/passes HTTP/1.1\r\nHost: {host}")).await.0, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "evil@localhost", "", "127.0.0.1.evil.example"] {
        assert_eq!(ask(address, &format!("GET /v1/passes HTTP/1.1\r\nHost: {host}")).await.0, 403, "{host}");
    }
    let both = "GET http://evil.example/v1/passes HTTP/1.1\r\nHost: localhost";
    assert_eq!(ask(address, both).await.0, 403);
    assert_eq!(ask(address, "GET /v1/passes HTTP/1.1\r\nHost: localhost\r\nHost: evil.example").await.0 / 100, 4);
    assert_eq!(ask(address, "GET /v1/passes HTTP/1.0").await.0, 403);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(ask(address, &format!("{method} /v1/passes HTTP/1.1\r\nHost: localhost")).await.0, 405, "{method}");
    }
}
