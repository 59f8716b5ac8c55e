//! Reviews before something is stored, under load: databases judged over HTTPS as the API server asks, so many at a time, while
//! a whole development cluster runs. What part of it the plugin takes is the operator's own account.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Client, Config};
use serde_json::{Value, json};
use stepwright_benches::machine;
use stepwright_benches::samples::{Samples, shown, table};
use stepwright_dev_cluster::{loopback, repository};
use stepwright_tests::databases::apply;
use stepwright_tests::wait::until;
use stepwright_tests::world::{self, NAMESPACE, SETTLES, World};

/// Databases that the cluster has, which each review is shown.
const DATABASES: usize = 3;
const WARM_UP: usize = 200;
const REVIEWS: usize = 4000;
/// Reviews at the same time.
const LOADS: [usize; 3] = [1, 8, 32];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let world = World::start().await?;
    let measured = measure(&world).await;
    world.cluster.stop().await?;
    println!("{}", measured?);
    Ok(())
}

async fn measure(world: &World) -> anyhow::Result<String> {
    world.sample_cluster().await?;
    for number in 0..DATABASES {
        let spec = json!({"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "100MB", "shardCount": 1});
        apply(world, &format!("bench-{number}"), spec);
    }
    let path = repository().join("deploy/webhook.yaml");
    world.kubectl(&["apply", "-f", &path.display().to_string()])?;
    let address = loopback(world.address(&world.operator_pod()?)?);
    let mut config = Config::new(format!("https://{address}:8443").parse()?);
    // The certificate names the Service, and what is measured is no proof of who is who.
    config.accept_invalid_certs = true;
    let client = Client::try_from(config)?;
    until("an answer", SETTLES, || async { one(&client, 0).await.map(drop) }).await;

    let machine = machine::line();
    run(&client, WARM_UP, 1).await?;
    let mut rows = Vec::new();
    for at_once in LOADS {
        let before = spent(world)?;
        let started = Instant::now();
        let samples = run(&client, REVIEWS, at_once).await?;
        let took = started.elapsed();
        let after = spent(world)?;
        let (all, plugin) = (after.0 - before.0, after.1 - before.1);
        rows.push(vec![
            at_once.to_string(),
            shown(samples.median()),
            shown(samples.p99()),
            format!("{:.0}", samples.len() as f64 / took.as_secs_f64()),
            shown(Duration::from_secs_f64(all / samples.len() as f64)),
            format!("{:.0} %", 100.0 * plugin / all),
        ]);
    }
    let head = ["at a time", "median", "p99", "a second", "in the operator, mean", "of that in the plugin"];
    Ok(format!("{machine}\n{REVIEWS} reviews for each row, after {WARM_UP} to warm up.\n\n{}", table(&head, &rows)))
}

/// So many reviews, so many of them at a time.
async fn run(client: &Client, count: usize, at_once: usize) -> anyhow::Result<Samples> {
    stream::iter(0..count)
        .map(|number| one(client, number))
        .buffer_unordered(at_once)
        .try_collect::<Vec<_>>()
        .await
        .map(Samples::from_iter)
}

/// One review of a database that is admitted.
async fn one(client: &Client, number: usize) -> anyhow::Result<Duration> {
    let name = format!("reviewed-{number}");
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": format!("00000000-0000-4000-8000-{number:012}"), "operation": "CREATE", "name": name, "namespace": NAMESPACE,
            "kind": {"group": "app.redislabs.com", "version": "v1alpha1", "kind": "RedisEnterpriseDatabase"},
            "resource": {"group": "app.redislabs.com", "version": "v1alpha1", "resource": "redisenterprisedatabases"},
            "userInfo": {"username": "somebody"}, "dryRun": true, "options": {},
            "object": {
                "apiVersion": "app.redislabs.com/v1alpha1", "kind": "RedisEnterpriseDatabase",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"redisEnterpriseCluster": {"name": "rec"}, "memorySize": "100MB", "shardCount": 1, "replication": false,
                    "persistence": "aofEverySecond", "evictionPolicy": "volatile-lru"},
            },
        },
    });
    let request = http::Request::post("/admission")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())?;
    let started = Instant::now();
    let answer: Value = client.request(request).await.context("failed to ask for a review")?;
    let took = started.elapsed();
    ensure!(answer.pointer("/response/allowed") == Some(&Value::Bool(true)), "the database was refused: {answer}");
    Ok(took)
}

/// Seconds of all reviews so far, and of the plugins in them.
fn spent(world: &World) -> anyhow::Result<(f64, f64)> {
    let (status, text) = world::http(world.address(&world.operator_pod()?)?, 8080, "GET", "/metrics", None, None)?;
    ensure!(status == 200, "/metrics answers {status}");
    let sum = |name: &str| -> anyhow::Result<f64> {
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains("RedisEnterpriseDatabase"));
        lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
    };
    Ok((sum("stepwright_admission_review_seconds_sum")?, sum("stepwright_admission_plugin_seconds_sum")?))
}
