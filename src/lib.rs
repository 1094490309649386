//! meterd: exactly-once usage metering for services. Other services report usage over gRPC; meterd
//! acknowledges what is on the disk and answers exactly how much was used, by whom, when.
//!
//! The library behind the one binary. It is not a client library and its Rust interface is not
//! stable; the contract is the gRPC one in `proto/`.
//!
//! Each layer uses only what stands to its right:
//! `cli → server → api → service → store → domain`, and `api → auth → domain`.
//! `config`, `telemetry` and `https` are leaves. See `ARCHITECTURE.md`.

pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod domain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod https;
pub mod server;
pub mod service;
pub mod store;
pub mod telemetry;
