//! Headers, tokens, assertions, keys, and requests for tokens.
#![no_main]

meterd_fuzz::target!("credentials");
