//! Which API a call of ours is, as its usage is recorded: the REST template and method of the first binding. A method
//! without one stands under its gRPC path, and is always called by POST.

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;

use super::metrics::Metrics;
use crate::{
    auth::rpc_permissions::RPC_ACCESS,
    domain::{
        api_usage::{HttpMethod, HttpStatus},
        caller::Caller,
        id::{IdError, PlatformName, TemplateUri},
    },
    service::api_usage::self_metering::{AnsweredApi, SelfMetering},
};

/// In which protocol a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    GrpcWeb,
    Rest,
}

/// Counts calls.
#[derive(Debug)]
pub(super) struct CallMeter {
    metering: Arc<SelfMetering>,
    metrics: Arc<Metrics>,
    // Those of each row of RPC_ACCESS, in the order of the protocols.
    apis: Vec<[Arc<AnsweredApi>; 3]>,
}

impl CallMeter {
    /// `bindings` are gRPC paths with their methods and templates.
    ///
    /// # Errors
    /// [`IdError`] if a template is too long to be recorded.
    pub(super) fn new<'a>(
        metering: Arc<SelfMetering>,
        metrics: Arc<Metrics>,
        bindings: impl Iterator<Item = (&'a str, &'a http::Method, String)>,
    ) -> Result<Self, IdError> {
        let mut over_rest: HashMap<&str, (TemplateUri, HttpMethod)> = HashMap::new();
        for (path, method, template) in bindings {
            let Ok(method) = method.as_str().parse() else { continue };
            let template = TemplateUri::new(&template)?;
            over_rest.entry(path).or_insert((template, method));
        }
        let platforms = [
            PlatformName::new("grpc")?,
            PlatformName::new("grpc-web")?,
            PlatformName::new("rest")?,
        ];
        let apis = RPC_ACCESS.iter().map(|(path, _)| {
            let (template_uri, method) = match over_rest.remove(path) {
                Some(api) => api,
                None => (TemplateUri::new(path)?, HttpMethod::Post),
            };
            Ok(platforms.clone().map(|platform| {
                let template_uri = template_uri.clone();
                Arc::new(AnsweredApi { template_uri, method, platform })
            }))
        });
        let apis = apis.collect::<Result<_, IdError>>()?;
        Ok(Self { metering, metrics, apis })
    }

    /// Counts a call of the method of this row of `RPC_ACCESS`.
    pub(super) fn count(
        &self,
        row: usize,
        caller: &Caller,
        protocol: Protocol,
        status: StatusCode,
    ) {
        let api = self.apis.get(row).and_then(|apis| apis.get(protocol as usize));
        let status = HttpStatus::new(status.as_u16());
        let (Some(api), Some(status)) = (api, status) else { return };
        if !self.metering.count(caller, api, status) {
            self.metrics.calls_not_metered.inc();
        }
    }
}
