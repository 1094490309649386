//! Query → fields of a message.
#![no_main]

meterd_fuzz::target!("rest_query");
