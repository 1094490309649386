//! Compiles the protos with protox and unpacks Swagger UI: no protoc, no network.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, Cursor},
    path::{Path, PathBuf},
};

/// Every file with a service, and the error model, which the REST side needs to write error bodies.
/// What they import comes along.
const PROTOS: [&str; 15] = [
    "envoy/service/accesslog/v3/als.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "meterd/v1/access.proto",
    "meterd/v1/catalog.proto",
    "meterd/v1/store.proto",
    "meterd/v1/usage_batch.proto",
    "meterd/v1/usage_ingest.proto",
    "meterd/v1/usage_query.proto",
    "meterd/v1/usage_report.proto",
    "yandex/cloud/endpoint/api_endpoint_service.proto",
    "yandex/cloud/iam/v1/iam_token_service.proto",
    "yandex/cloud/marketplace/metering/v1/image_product_usage_service.proto",
    "yandex/cloud/marketplace/metering/v1/product_usage_service.proto",
    "yandex/cloud/marketplace/v1/metering/image_product_usage_service.proto",
];

/// The files of Swagger UI that a page needs.
const SWAGGER_UI: [&str; 3] = ["favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css"];

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
        // An empty entry takes two bytes of a message, and should not take a hundred times as much in memory.
        .boxed(".envoy.data.accesslog.v3.HTTPAccessLogEntry.common_properties")
        .boxed(".envoy.data.accesslog.v3.HTTPAccessLogEntry.request")
        .btree_map(".envoy")
        .compile_fds(compiler.file_descriptor_set())?;
    unpack_swagger_ui(&out)
}

/// Takes what `/docs` serves out of the archive that the crate carries.
fn unpack_swagger_ui(out: &Path) -> Result<(), Box<dyn Error>> {
    let archive = Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED);
    let mut archive = zip::ZipArchive::new(archive)?;
    for name in SWAGGER_UI {
        let end = format!("/dist/{name}");
        let at = (0..archive.len())
            .find(|at| {
                archive
                    .name_for_index(*at)
                    .is_some_and(|path| path.is_ok_and(|path| path.ends_with(&end)))
            })
            .ok_or_else(|| format!("the archive of Swagger UI has no {name}"))?;
        io::copy(&mut archive.by_index(at)?, &mut File::create(out.join(name))?)?;
    }
    Ok(())
}
