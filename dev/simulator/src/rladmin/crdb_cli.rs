//! The look-alike of `crdb-cli`: Active-Active databases from the command line of a node (REST reference, 15.2).
//!
//! A change is followed until its task is over. What there is no documented form for is printed as JSON.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Local, PATIENCE, RladminError, say, table};

const USAGE: &str = "usage: crdb-cli crdb create --name <name> --memory-size <bytes> [--default-db-config <json>]
                --instance fqdn=<fqdn>,username=<name>,password=<password>[,url=<url>,replication_endpoint=<host:port>,replication_tls_sni=<name>] ...
       crdb-cli crdb list
       crdb-cli crdb get|health-report|delete|flush --crdb-guid <guid>
       crdb-cli crdb update --crdb-guid <guid> [--memory-size <bytes>] [--default-db-config <json>] [--force]
       crdb-cli crdb add-instance --crdb-guid <guid> --instance ...
       crdb-cli crdb remove-instance --crdb-guid <guid> --instance-id <id> [--force]
       crdb-cli crdb purge-instance --crdb-guid <guid> --instance-id <id>
       crdb-cli task list | status --task-id <id> | cancel --task-id <id> [--force]";

/// Options of a command line: `--name value`, those that stand alone with nothing, some more than once.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn read(words: &[&'a str]) -> Result<Self, RladminError> {
        let (mut all, mut rest) = (Vec::new(), words);
        while let [name, tail @ ..] = rest {
            let Some(name) = name.strip_prefix("--") else { return Err(usage(&format!("unexpected: {name}"))) };
            let value = tail.first().filter(|value| !value.starts_with("--"));
            rest = if value.is_some() { tail.get(1..).unwrap_or_default() } else { tail };
            all.push((name, *value.unwrap_or(&"")));
        }
        Ok(Self(all))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(one, _)| *one == name).map(|(_, value)| *value)
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn needed(&self, name: &str) -> Result<&'a str, RladminError> {
        self.one(name).filter(|value| !value.is_empty()).ok_or_else(|| usage(&format!("--{name} is missing")))
    }

    /// The common configuration that the options ask for.
    fn config(&self) -> Result<Map<String, Value>, RladminError> {
        let mut config = match self.one("default-db-config").map(serde_json::from_str) {
            None => Map::new(),
            Some(Ok(Value::Object(config))) => config,
            Some(_) => return Err(usage("--default-db-config is a JSON object")),
        };
        if let Some(size) = self.one("memory-size") {
            let size: u64 = size.parse().map_err(|_| usage("--memory-size is a number of bytes"))?;
            config.insert("memory_size".to_owned(), json!(size));
        }
        Ok(config)
    }

    fn instances(&self) -> Result<Vec<Value>, RladminError> {
        self.all("instance").map(instance).collect()
    }
}

fn usage(why: &str) -> RladminError {
    RladminError::Usage(format!("{why}\n{USAGE}"))
}

fn instance(text: &str) -> Result<Value, RladminError> {
    let part = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let needed = |name: &str| part(name).ok_or_else(|| usage(&format!("--instance needs {name}")));
    let name = needed("fqdn")?;
    let url = part("url").map_or_else(|| format!("https://{name}:9443"), str::to_owned);
    let mut cluster = json!({
        "name": name, "url": url, "credentials": {"username": needed("username")?, "password": needed("password")?},
    });
    for key in ["replication_endpoint", "replication_tls_sni"] {
        if let (Some(value), Some(cluster)) = (part(key), cluster.as_object_mut()) {
            cluster.insert(key.to_owned(), json!(value));
        }
    }
    Ok(json!({"cluster": cluster}))
}

/// Runs one command line.
pub async fn run(words: &[String]) -> Result<(), RladminError> {
    let local = Local::from_environment();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [group, verb, rest @ ..] = words.as_slice() else { return Err(usage("a command is missing")) };
    let options = Options::read(rest)?;
    let path = |end: &str| options.needed("crdb-guid").map(|guid| format!("/v1/crdbs/{guid}{end}"));
    let task = || options.needed("task-id").map(|id| format!("/v1/crdb_tasks/{id}"));
    let id = || options.needed("instance-id")?.parse::<u32>().map_err(|_| usage("--instance-id is a number"));
    let force = options.one("force").is_some();
    match (*group, *verb) {
        ("crdb", "list") => list(&local).await,
        ("crdb", "get") => show(&local, &path("")?).await,
        ("crdb", "health-report") => show(&local, &path("/health_report")?).await,
        ("crdb", "create") => {
            let name = options.needed("name")?;
            let mut config = options.config()?;
            config.insert("name".to_owned(), json!(name));
            let body = json!({"name": name, "default_db_config": config, "instances": options.instances()?});
            follow(&local, "POST", "/v1/crdbs", &body).await
        }
        ("crdb", "update") => {
            let body = json!({"crdb": {"default_db_config": options.config()?}, "force_update": force});
            follow(&local, "POST", &path("/updates")?, &body).await
        }
        ("crdb", "add-instance") => {
            follow(&local, "POST", &path("/updates")?, &json!({"add_instances": options.instances()?})).await
        }
        ("crdb", "remove-instance") => {
            let body = json!({"remove_instances": [id()?], "remove_instances.force_remove": force});
            follow(&local, "POST", &path("/updates")?, &body).await
        }
        ("crdb", "purge-instance") => follow(&local, "PUT", &path("/purge")?, &json!({"instances": [id()?]})).await,
        ("crdb", "delete") => follow(&local, "DELETE", &path("")?, &Value::Null).await,
        ("crdb", "flush") => follow(&local, "PUT", &path("/flush")?, &Value::Null).await,
        ("task", "list") => show(&local, "/v1/crdb_tasks").await,
        ("task", "status") => show(&local, &task()?).await,
        ("task", "cancel") => {
            let query = if force { "?force" } else { "" };
            local.ask("POST", &format!("{}/actions/cancel{query}", task()?), &Value::Null).await.map(|_| ())
        }
        _ => Err(usage(&format!("unknown command: {}", words.join(" ")))),
    }
}

async fn list(local: &Local) -> Result<(), RladminError> {
    let crdbs = local.get("/v1/crdbs").await?;
    let mut table = table::Table::new(&["CRDB-GUID", "NAME", "REPL-ID", "CLUSTER-FQDN"]);
    for crdb in crdbs.as_array().into_iter().flatten() {
        for instance in crdb.get("instances").and_then(Value::as_array).into_iter().flatten() {
            let cluster = instance.get("cluster").cloned().unwrap_or_default();
            let cells = [table::cell(crdb, "guid"), table::cell(crdb, "name"), table::cell(instance, "id")];
            table.row(cells.into_iter().chain([table::cell(&cluster, "name")]).collect());
        }
    }
    say(&table.to_string());
    Ok(())
}

async fn show(local: &Local, path: &str) -> Result<(), RladminError> {
    let found = local.get(path).await?;
    say(&format!("{found:#}"));
    Ok(())
}

async fn follow(local: &Local, method: &str, path: &str, body: &Value) -> Result<(), RladminError> {
    let queued = local.ask(method, path, body).await?;
    let id = table::cell(&queued, "id");
    let started = Instant::now();
    let mut misses = 0;
    while started.elapsed() < PATIENCE {
        let task = match local.get(&format!("/v1/crdb_tasks/{id}")).await {
            Ok(task) => task,
            // The cluster may be electing its master.
            Err(_) if misses < 50 => {
                misses += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        match table::cell(&task, "status").as_str() {
            "finished" => {
                say(&format!(
                    "Task {id} created\n  ---> CRDB GUID Assigned: crdb:{}\n  ---> Status changed: queued -> finished",
                    table::cell(&task, "crdb_guid")
                ));
                return Ok(());
            }
            "failed" => {
                return Err(RladminError::Refused(format!("task {id} failed: {}", table::cell(&task, "errors"))));
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Err(RladminError::Refused(format!("task {id} takes too long")))
}
