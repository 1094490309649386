//! The wire: gRPC handlers that convert, call a use case and convert back, the layers around them, and the
//! REST side, which calls them. Knows nothing of how usage is stored.

// tonic's Status is 176 bytes and every handler returns it; boxing it would gain nothing at the edge.
#![allow(clippy::result_large_err)]

mod access;
mod access_log;
mod actor;
mod assertions;
pub mod bytes_codec;
mod catalog;
mod client_rates;
mod connection;
mod convert;
mod documents;
mod failed_credentials;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod layers;
mod limit;
pub mod metrics;
mod oauth;
mod origins;
pub mod pb;
mod peer_address;
mod product_usage;
mod request_bytes;
pub mod rest;
mod router;
mod self_metering;
mod status;
mod store;
mod usage_batch;
mod usage_ingest;
mod usage_query;
mod usage_report;
mod usage_stream;
mod yandex_sign_in;
mod zstd_window;

pub use client_rates::ClientRate;
pub use connection::{Connection, ConnectionSlot, PeerAddress};
pub(crate) use convert::{backup as wire_backup, time as wire_time};
pub use layers::CallLimits;
pub use origins::{CrossOrigin, OriginError};
pub use router::{ApiServices, RouterError, api_router, grpc_service_names};
