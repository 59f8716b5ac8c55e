//! Plays a Redis Enterprise node: its REST API over real redis-server processes.
//!
//! One process is one node. The pieces, from the pure middle outwards:
//!
//! - [`state`]: everything a cluster agrees on, and the commands that change it. No I/O, no clock.
//! - [`conductor`]: what the master node does next, decided from the state and what the nodes report. Pure as well.
//! - [`consensus`] and [`store`]: how a command becomes part of the state of a majority, on disk.
//! - [`agent`], [`shard`], [`proxy`]: what one node runs because the state says so.
//! - [`dataset`]: whole data sets on their way in and out.
//! - [`crdb`]: what clusters do together for Active-Active databases.
//! - [`crdt`]: how their data comes to be the same.
//! - [`api`], [`exporter`], [`sentinel`], [`control`]: what others see of it.
//! - [`rladmin`]: the look-alike of the command line tool, a client of the local node.
//!
//! What this is not: a re-implementation of Redis Enterprise. The README beside this crate lists the limits.

pub mod agent;
pub mod api;
pub mod bootstrap;
pub mod clock;
pub mod conductor;
pub mod consensus;
pub mod control;
pub mod crdb;
pub mod crdt;
pub mod dataset;
pub mod exporter;
pub mod faults;
pub mod guard;
pub mod node;
pub mod peers;
pub mod proxy;
pub mod resharding;
pub mod resolve;
pub mod resp;
pub mod rest_client;
pub mod rladmin;
pub mod sentinel;
pub mod serve;
pub mod settings;
pub mod shard;
pub mod slots;
pub mod state;
pub mod store;
pub mod tls;
mod tls_client;
mod transferring;
mod trim;
