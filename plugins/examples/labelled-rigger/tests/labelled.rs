//! The example differs from the original in one label, and in nothing that it asks for.

use serde_json::{Value, json};
use stepwright_labelled_rigger::LabelledRigger;
use stepwright_rigging::ServicesRigger;
use stepwright_sdk::Plugin;
use stepwright_sdk::testing::{Given, readable};

#[test]
fn every_service_has_the_label_and_nothing_else_differs() {
    let rec = json!({ "kind": "RedisEnterpriseCluster", "metadata": { "name": "rec" } });
    let endpoint = json!({ "port": 19621, "addr": ["10.0.0.5"] });
    let given = Given::new::<LabelledRigger>(&rec)
        .object("pods", &json!({ "kind": "Pod", "metadata": { "name": "rec-0" }, "status": { "podIP": "10.0.0.5" } }))
        .fact("bdbs", &json!([{ "uid": 1, "name": "mydb", "endpoints": [endpoint] }]));
    let mut labelled = readable(&given.run::<LabelledRigger>().unwrap());
    for service in labelled["desired"].as_array_mut().unwrap() {
        let labels = service["body"]["metadata"]["labels"].as_object_mut().unwrap();
        assert_eq!(labels.remove("example.com/rigged-by"), Some(Value::from("labelled")));
    }
    assert_eq!(labelled, readable(&given.run::<ServicesRigger>().unwrap()));
    assert_eq!(labelled["desired"].as_array().unwrap().len(), 5);
}

#[test]
fn it_asks_for_what_the_original_asks_for() {
    assert_eq!(LabelledRigger::manifest().steps(), ServicesRigger::manifest().steps());
}
