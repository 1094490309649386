//! Method and path → route: the right one or none.
#![no_main]

meterd_fuzz::target!("rest_path");
