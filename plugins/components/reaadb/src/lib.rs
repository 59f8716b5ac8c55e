//! The plugin `reaadb` as a component. Apart from its logic, which the component `admission` has as well: what is exported here would
//! be exported there, too.

stepwright_sdk::export_plugin!(stepwright_reaadb::Reaadb);
