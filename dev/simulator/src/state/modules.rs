//! Modules that a cluster has and databases name (REST reference, 10). Descriptions only: no code of a module is run.

use serde_json::{Value, json};

use super::{Bdb, ClusterState, Object, Refusal, digest};

/// Name, name for people, and version of the modules that come with the product.
const BUNDLED: [(&str, &str, &str); 4] = [
    ("search", "RediSearch 2", "8.0.2"),
    ("ReJSON", "RedisJSON", "8.0.1"),
    ("timeseries", "RedisTimeSeries", "8.0.1"),
    ("bf", "RedisBloom", "8.0.1"),
];

/// `80002` of `8.0.2`.
fn number(version: &str) -> u64 {
    version.split('.').take(3).fold(0, |sum, part| sum * 100 + part.parse::<u64>().unwrap_or(0))
}

fn text<'a>(module: &'a Value, key: &str) -> &'a str {
    module.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn described(name: &str, display: &str, version: &str, bundled: bool) -> Value {
    json!({
        "uid": digest(&[name, version]).get(..32), "module_name": name, "display_name": display, "version": number(version),
        "semantic_version": version, "min_redis_version": "7.0", "compatible_redis_version": "7.0", "capabilities": [],
        "is_bundled": bundled, "dependencies": {}, "command_line_args": "",
    })
}

impl ClusterState {
    /// All modules of the cluster.
    pub fn all_modules(&self) -> Vec<Value> {
        let bundled = BUNDLED.iter().map(|(name, display, version)| described(name, display, version, true));
        bundled.chain(self.modules.iter().cloned()).collect()
    }

    /// Adds one by its description.
    pub(super) fn add_module(&mut self, body: &Object) -> Result<Value, Refusal> {
        let said = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, version) = (said("module_name"), said("semantic_version"));
        if name.is_empty() || version.is_empty() {
            return Err(Refusal::bad_request("module_name or semantic_version is missing"));
        }
        let same = |one: &Value| text(one, "module_name") == name && text(one, "semantic_version") == version;
        if self.all_modules().iter().any(same) {
            return Err(Refusal::new(409, "module_exists", format!("the cluster has module {name} {version}")));
        }
        let display = Some(said("display_name")).filter(|display| !display.is_empty()).unwrap_or(name);
        let module = described(name, display, version, false);
        self.modules.push(module.clone());
        Ok(module)
    }

    /// Refuses a database that names what the cluster does not have.
    pub(super) fn check_modules(&self, bdb: &Bdb) -> Result<(), Refusal> {
        let all = self.all_modules();
        for wanted in bdb.config.get("module_list").and_then(Value::as_array).into_iter().flatten() {
            let (name, version) = (text(wanted, "module_name"), text(wanted, "semantic_version"));
            let fits = |one: &Value| {
                text(one, "module_name") == name && (version.is_empty() || text(one, "semantic_version") == version)
            };
            if name.is_empty() || !all.iter().any(fits) {
                return Err(Refusal::new(406, "missing_module", format!("the cluster has no module {name} {version}")));
            }
        }
        Ok(())
    }
}
