//! Compiles the protos with protox: no protoc, no network.

use std::{env, error::Error, fs, path::PathBuf};

/// Every file with a service, and the error model, which the REST side needs to write error bodies.
/// What they import comes along.
const PROTOS: [&str; 8] = [
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "meterd/v1/catalog.proto",
    "meterd/v1/usage_ingest.proto",
    "meterd/v1/usage_report.proto",
    "yandex/cloud/marketplace/metering/v1/image_product_usage_service.proto",
    "yandex/cloud/marketplace/metering/v1/product_usage_service.proto",
    "yandex/cloud/marketplace/v1/metering/image_product_usage_service.proto",
];

#[expect(clippy::disallowed_methods, reason = "Cargo speaks to build scripts through variables")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    // Encoded by the compiler itself: prost-types would drop `google.api.http` on the way.
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        // Their Rust types are never named, and comments in them are no Rust documentation.
        .extern_path(".google.rpc", "::tonic_types::pb")
        .disable_comments([".google"])
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
