//! Integration tests, in one binary so that they are linked once.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub
)]

mod abuse;
mod access_isolation;
mod access_log;
mod access_matrix;
mod architecture;
mod assertions;
mod audit_trail;
mod backup;
mod backup_damage;
mod backup_stall;
mod cli_access;
mod cli_assets;
mod cli_bench;
mod cli_bench_postgres;
mod cli_catalog;
mod cli_checkpoint;
mod cli_config;
mod cli_demo;
mod cli_query;
mod cli_query_api;
mod cli_record_api;
mod cli_write;
mod connection_slots;
mod crash_points;
mod damage;
mod data_directory;
mod dev_mode;
mod disk_faults;
mod disk_reserve;
mod durability;
mod edge;
mod foreign_clients;
mod format;
mod full_disk;
mod grpc_web;
mod hostile_input;
mod http_rules;
mod invisible_characters;
mod kill;
mod kill_batches;
mod network;
mod organization_limits;
mod outside_issuer;
mod power_loss;
mod rate_limits;
mod read_fairness;
mod reader_snapshot;
mod report_recount;
mod reports_api;
mod rest;
mod rest_differential;
mod rest_openapi;
mod retention;
mod secrecy;
mod self_metering;
mod series_limits;
mod sign_in;
mod simulate;
mod soak;
mod stall;
mod store_assets;
mod store_backup;
mod store_documents;
mod store_model;
mod store_pages;
mod support;
mod tampering;
mod tenants;
mod tls;
mod unauthenticated;
mod usage_batches;
mod usage_queries;
mod usage_query_access;
mod usage_query_counts;
mod usage_query_errors;
mod usage_query_load;
mod usage_query_paging;
mod usage_query_recount;
mod usage_query_restart;
mod usage_query_results;
mod usage_query_rows;
mod usage_query_states;
mod usage_stream;
mod write_contract;
