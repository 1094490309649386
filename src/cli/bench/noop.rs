//! A server that reads every message, stores nothing and accepts everything: the most that any server with these
//! protos, this runtime and this library can do on the machine.

use std::pin::Pin;

use anyhow::Context as _;
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{
    api::pb::{
        meterd::v1::{
            RecordApiUsageRequest, RecordApiUsageResponse, StreamProductUsageRequest,
            StreamProductUsageResponse,
            usage_ingest_service_server::{UsageIngestService, UsageIngestServiceServer},
        },
        yandex::cloud::marketplace::metering::v1::{
            AcceptedUsageRecord, WriteImageProductUsageRequest, WriteImageProductUsageResponse,
            image_product_usage_service_server::{
                ImageProductUsageService, ImageProductUsageServiceServer,
            },
        },
    },
    cli::{CommandResult, serve::stop_signal, terminal::tell},
};

#[derive(Debug, Clone, Copy)]
struct Noop;

#[tonic::async_trait]
impl ImageProductUsageService for Noop {
    async fn write(
        &self,
        request: Request<WriteImageProductUsageRequest>,
    ) -> Result<Response<WriteImageProductUsageResponse>, Status> {
        let records = request.into_inner().usage_records;
        let accepted =
            records.into_iter().map(|record| AcceptedUsageRecord { uuid: record.uuid }).collect();
        Ok(Response::new(WriteImageProductUsageResponse { accepted, rejected: Vec::new() }))
    }
}

#[tonic::async_trait]
impl UsageIngestService for Noop {
    type StreamProductUsageStream =
        Pin<Box<dyn Stream<Item = Result<StreamProductUsageResponse, Status>> + Send>>;

    async fn stream_product_usage(
        &self,
        request: Request<Streaming<StreamProductUsageRequest>>,
    ) -> Result<Response<Self::StreamProductUsageStream>, Status> {
        let answers = request.into_inner().map(|message| {
            let message = message?;
            Ok(StreamProductUsageResponse {
                sequence: message.sequence,
                accepted_count: u32::try_from(message.usage_records.len()).unwrap_or(u32::MAX),
                rejected: Vec::new(),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn record_api_usage(
        &self,
        _: Request<RecordApiUsageRequest>,
    ) -> Result<Response<RecordApiUsageResponse>, Status> {
        Err(Status::unimplemented("the no-op server takes product usage only"))
    }
}

/// Serves on a free port until it is asked to stop, and says where, as `serve` does.
pub(super) async fn serve() -> CommandResult {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let stop = stop_signal()?;
    tell(format_args!("listening api={address} admin="));
    let connections = TcpListenerStream::new(listener).map(|connection| {
        connection.inspect(|connection| {
            // Without it, answers would wait for the acknowledgement of those before.
            let _ = connection.set_nodelay(true);
        })
    });
    Server::builder()
        .add_service(ImageProductUsageServiceServer::new(Noop))
        .add_service(UsageIngestServiceServer::new(Noop))
        .serve_with_incoming_shutdown(connections, stop)
        .await
        .context("serving failed")?;
    Ok(())
}
