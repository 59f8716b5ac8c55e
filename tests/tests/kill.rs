//! The operator is killed with SIGKILL at a random moment while a cluster and its database come to be, again and again.
//! Each time it must end `Running` and `active`, with one database and one password.
//!
//! `STEPWRIGHT_KILLS` says how often (3 if unset; the number behind the claim in the README is 20).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; helpers of tests count as code to the lint"
)]

use std::time::{Duration, Instant};

use stepwright_tests::wait::until;
use stepwright_tests::world::{FORMS, SETTLES, World};

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_ends_running_and_active_with_one_database_and_one_password() {
    let kills: u32 = std::env::var("STEPWRIGHT_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(3);
    let world = World::start().await.unwrap();
    // How long an undisturbed start takes; the moments of the kills are spread over it.
    let started = Instant::now();
    world.sample_cluster().await.unwrap();
    world.sample_database().await.unwrap();
    let undisturbed = started.elapsed();
    tear_down(&world).await;

    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("undisturbed: {undisturbed:?}; seed of the moments: {seed}");
    let mut random = u64::from(seed) | 1;
    for kill in 1..=kills {
        // Spread by xorshift: any sequence will do, as long as it is printed.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let moment = undisturbed.mul_f64((random % 1_000) as f64 / 1_000.0);
        world.apply_sample("rec.yaml").unwrap();
        world.apply_sample("redb.yaml").unwrap();
        let mut first_password = None;
        let start = Instant::now();
        while start.elapsed() < moment {
            // The first password that is ever seen must be the last one.
            first_password = first_password.or_else(|| world.secret("redb-mydb", "password").ok());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.kill_operator().unwrap();
        world.field("rec", "rec", "/status/state", "Running", FORMS).await;
        world.field("redb", "mydb", "/status/status", "active", FORMS).await;
        let bdbs = world.rest("GET", "/v1/bdbs", None).unwrap();
        assert_eq!(bdbs.as_array().map(Vec::len), Some(1), "kill {kill} at {moment:?}: {bdbs}");
        let password = world.secret("redb-mydb", "password").unwrap();
        assert_eq!(first_password.unwrap_or_else(|| password.clone()), password, "kill {kill}: the password changed");
        assert_eq!(bdbs[0]["authentication_redis_pass"], password.as_str(), "kill {kill}: not the database's password");
        println!("kill {kill} of {kills} at {moment:?}: Running and active after {:?}", start.elapsed());
        tear_down(&world).await;
    }
    world.cluster.stop().await.unwrap();
}

async fn tear_down(world: &World) {
    world.kubectl(&["delete", "redb", "mydb"]).unwrap();
    world.kubectl(&["delete", "rec", "rec"]).unwrap();
    until("the pods to go", SETTLES, || async {
        let pods = world.list("pods", "redis.io/cluster=rec").unwrap();
        if pods.is_empty() { Ok(()) } else { Err(pods.len()) }
    })
    .await;
    world.kubectl(&["delete", "pvc", "--all"]).unwrap();
}
