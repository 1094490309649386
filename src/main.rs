//! The meterd binary.

fn main() {}
