//! Messages of Envoy's access log.
#![no_main]

meterd_fuzz::target!("access_log");
