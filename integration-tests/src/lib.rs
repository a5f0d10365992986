//! The harness, the end-to-end tests against a real ZooKeeper, and the benchmarks.
//!
//! | a test wants | it asks |
//! |---|---|
//! | a ZooKeeper, and a subtree of its own | [`zookeeper`] |
//! | servers that it may kill, freeze, restart | [`servers`] |
//! | the truth from outside | [`raw`], [`raw_events`], [`four_letter`] |
//! | a broken network | [`proxy`], at random [`link_faults`] |
//! | a real process | [`process`], one that takes orders [`line_process`], another project's client [`peers`] |
//! | a real terminal, a real browser | [`tmux`], [`chromium`] |
//! | to know when something was drawn | [`terminal`], [`lookout`] |
//! | to wait without a sleep | [`eventually`] |
//! | a bound that a busy machine does not break | [`fair_time`] |
//! | to compare a snapshot with ZooKeeper | [`truth`] |
//! | a readable, repeatable failure | [`replay`], and what is left of it [`artifacts`] |
//! | a fleet under load, restarted or killed | [`under_load`] |
//! | bad weather for hours | [`soak`] |
//! | our server beside Apache ZooKeeper | [`mod@diff`] |
//! | figures | [`mod@bench`] |
//!
//! A helper that cannot do its job panics and says why: that fails the test.

pub mod artifacts;
pub mod bench;
pub mod checkout;
pub mod chromium;
pub mod diff;
pub mod eventually;
pub mod fair_time;
pub mod four_letter;
pub mod http_get;
pub mod line_process;
pub mod link_faults;
pub mod lookout;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod raw_events;
pub mod registries;
pub mod replay;
pub mod servers;
pub mod soak;
pub mod terminal;
pub mod time_clients;
pub mod time_servers;
pub mod tmux;
pub mod truth;
pub mod under_load;
pub mod web_server;
pub mod zookeeper;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
