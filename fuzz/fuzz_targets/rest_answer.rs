//! The bytes of an answer → JSON, by both ways.
#![no_main]

meterd_fuzz::target!("rest_answer");
