//! The store as a whole.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tonic::{Request, Response, Status};

use super::{
    actor::actor,
    convert::backup as convert,
    pb::meterd::v1::{
        GetLogHeadRequest, GetLogHeadResponse, StreamBackupRequest, StreamBackupResponse,
        store_service_server::StoreService,
    },
    status,
};
use crate::service::{
    ServiceError,
    backups::{BackupMessage, Backups},
};

/// Serves `meterd.v1.StoreService`.
#[derive(Debug, Clone)]
pub(super) struct StoreHandler {
    pub(super) backups: Arc<Backups>,
}

#[tonic::async_trait]
impl StoreService for StoreHandler {
    type StreamBackupStream = BoxStream<'static, Result<StreamBackupResponse, Status>>;

    async fn get_log_head(
        &self,
        request: Request<GetLogHeadRequest>,
    ) -> Result<Response<GetLogHeadResponse>, Status> {
        let actor = actor(&request)?;
        let head = self.backups.log_head(&actor).await.map_err(status::from_service)?;
        Ok(Response::new(GetLogHeadResponse { head: Some(convert::head_to_proto(&head)) }))
    }

    async fn stream_backup(
        &self,
        request: Request<StreamBackupRequest>,
    ) -> Result<Response<Self::StreamBackupStream>, Status> {
        let actor = actor(&request)?;
        let request =
            convert::request_from_proto(request.into_inner()).map_err(status::from_service)?;
        let messages = self.backups.start(&actor, request).await.map_err(status::from_service)?;
        let parts = stream::unfold(Some(messages), |messages| async {
            let mut messages = messages?;
            let given_up = || ServiceError::Unavailable("the backup was given up".into());
            let (part, more) = match messages.recv().await.unwrap_or_else(|| Err(given_up())) {
                Ok(end @ BackupMessage::End(_)) => (Ok(end), None),
                Ok(entries) => (Ok(entries), Some(messages)),
                Err(error) => (Err(error), None),
            };
            Some((part.map(convert::message_to_proto).map_err(status::from_service), more))
        });
        Ok(Response::new(parts.boxed()))
    }
}
