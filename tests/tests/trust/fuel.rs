//! Fuel: a bound on work that is the same on every machine.

use serde_json::json;
use stepwright_core::guest::{Guest, GuestError};
use stepwright_core::object::{Object, ObjectRef};
use stepwright_core::observation::Observation;
use stepwright_engine::{Engine, EngineConfig};
use stepwright_tests::components::Card;

fn observation() -> Observation {
    let id = ObjectRef {
        api_version: "test.stepwright.dev/v1".into(),
        kind: "Thing".into(),
        namespace: Some("default".into()),
        name: "a".into(),
    };
    let body = json!({"spec": {"value": "1", "victim": true}}).to_string();
    Observation {
        step: "step".into(),
        primary: Object { id, body },
        deleting: false,
        objects: vec![],
        facts: vec![],
        replies: vec![],
        notes: vec![],
        settings: "{}".into(),
        round: 0,
        now: "2026-01-01T00:00:00Z".into(),
    }
}

#[test]
fn a_plugin_ends_when_its_fuel_does_and_answers_the_same_when_it_does_not() {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let ask = |limits: serde_json::Value| {
        let card = Card::sinner("burns-fuel").with_words(b"burns").with_limits(limits);
        engine.load(&card.component()).unwrap().ask(&observation())
    };
    let free = ask(json!({"milliseconds": 5_000}));
    assert_eq!(free.usage.fuel, None);
    let free = free.answer.unwrap().unwrap();
    let enough = ask(json!({"milliseconds": 5_000, "fuel": 1_000_000_000}));
    let burned = enough.usage.fuel.unwrap();
    assert!((1_000_000..1_000_000_000).contains(&burned), "{burned}");
    assert_eq!(enough.answer.unwrap().unwrap(), free);
    // The same work costs the same each time.
    assert_eq!(ask(json!({"milliseconds": 5_000, "fuel": 1_000_000_000})).usage.fuel, Some(burned));

    let short = ask(json!({"milliseconds": 5_000, "fuel": 1_000_000}));
    let error = short.answer.unwrap_err();
    assert!(matches!(&error, GuestError::FuelExhausted { limit: 1_000_000, .. }), "{error:?}");
    assert_eq!(error.reason(), "PluginFuelExhausted");
    assert!(error.to_string().contains("`burns-fuel`") && error.to_string().contains("1000000"), "{error}");
}
