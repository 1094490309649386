//! What the protos generate. Named in `api` and `cli` only.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::or_fun_call,
    rustdoc::bare_urls,
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags
)]

/// Our own packages.
pub mod meterd {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("meterd.v1");
    }
}

/// Envoy's packages.
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    pub mod data {
        pub mod accesslog {
            pub mod v3 {
                tonic::include_proto!("envoy.data.accesslog.v3");
            }
        }
    }
    pub mod service {
        pub mod accesslog {
            pub mod v3 {
                tonic::include_proto!("envoy.service.accesslog.v3");
            }
        }
    }
}

/// The vendor's packages.
pub mod yandex {
    pub mod cloud {
        pub mod endpoint {
            tonic::include_proto!("yandex.cloud.endpoint");
        }
        pub mod iam {
            pub mod v1 {
                tonic::include_proto!("yandex.cloud.iam.v1");
            }
        }
        pub mod marketplace {
            pub mod v1 {
                pub mod metering {
                    tonic::include_proto!("yandex.cloud.marketplace.v1.metering");
                }
            }
            pub mod metering {
                pub mod v1 {
                    tonic::include_proto!("yandex.cloud.marketplace.metering.v1");
                }
            }
        }
    }
}

/// All protos as a serialized `FileDescriptorSet`, comments included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
