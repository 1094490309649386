//! Documents of organizations, clients, audit events and queries, and pages of rows.
#![no_main]

meterd_fuzz::target!("service_documents");
